package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime/debug"
)

// version tells, from what the linker left in the program, which Go and which
// go-car it is made of.
func version(args []string, out io.Writer) error {
	if len(args) > 0 {
		return errUsage
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("built without module information")
	}
	found := map[string]string{"go": info.GoVersion}
	for _, module := range info.Deps {
		if module.Path == "github.com/ipld/go-car/v2" {
			found["go-car"] = module.Version
		}
	}
	return json.NewEncoder(out).Encode(found)
}
