// Command peer runs the Go dagstore on folders in the layout of carv2's
// export: shards.jsonl, one record a line as the library keeps them in its
// datastore, and index/, its own index folder.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const usage = `usage: peer COMMAND ARGUMENTS

Index folders, through index.NewFSRepo
  keys INDEX              keys of the index files, one a line
  entries INDEX KEY       "MULTIHASH-HEX OFFSET" of an iterable index; of others
                          "not iterable: CODEC"
  look-up INDEX KEY       for each multihash in hex read from stdin, one line:
                          "HEX OFFSET..." or "HEX missing"

Stores, through dagstore.NewDAGStore; mounts are FSMounts of all files, "fs"
  make FOLDER             for each "KEY MODE PATH" read from stdin, register a
                          shard: eager, lazy, or serving, which is acquired as
                          well and never released; then write the folder
  serve FOLDER            open the folder; print "KEY STATE" of each shard; then
                          for each "KEY CID" read from stdin, one line:
                          "CID SHA256" or "CID error TEXT"
`

type command struct {
	arguments int
	run       func(ctx context.Context, out io.Writer, arguments []string) error
}

var commands = map[string]command{
	"keys":    {1, keys},
	"entries": {2, entries},
	"look-up": {2, lookUp},
	"make":    {1, makeFolder},
	"serve":   {1, serve},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 0 {
		return errors.New(usage)
	}
	found, ok := commands[words[0]]
	if !ok || len(words)-1 != found.arguments {
		return errors.New(usage)
	}
	out := bufio.NewWriter(os.Stdout)
	if err := found.run(context.Background(), out, words[1:]); err != nil {
		return err
	}
	return out.Flush()
}

// lines calls take with the words of each line read from stdin.
func lines(count int, take func(words []string) error) error {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		words := strings.Fields(scanner.Text())
		if len(words) != count {
			return fmt.Errorf("a line of %d words, wanted %d", len(words), count)
		}
		if err := take(words); err != nil {
			return err
		}
	}
	return scanner.Err()
}
