package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	car "github.com/ipld/go-car/v2"
	"github.com/multiformats/go-multicodec"
)

func inspect(args []string, out io.Writer) error {
	flags := newFlags("inspect")
	full := flags.Bool("full", false, "verify hashes")
	paths, err := parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	file, err := os.Open(paths[0])
	if err != nil {
		return err
	}
	defer file.Close()
	reader, err := car.NewReader(file, car.ZeroLengthSectionAsEOF(true))
	if err != nil {
		return err
	}
	stats, err := reader.Inspect(*full)
	if err != nil {
		return err
	}
	return printStats(out, stats)
}

func printStats(out io.Writer, stats car.Stats) error {
	line := func(format string, values ...any) { fmt.Fprintf(out, format+"\n", values...) }

	line("Version: %d", stats.Version)
	if stats.Version == 2 {
		var characteristics bytes.Buffer
		if _, err := stats.Header.Characteristics.WriteTo(&characteristics); err != nil {
			return err
		}
		line("Characteristics: %x", characteristics.Bytes())
		line("Data offset: %d", stats.Header.DataOffset)
		line("Data (payload) length: %d", stats.Header.DataSize)
		line("Index offset: %d", stats.Header.IndexOffset)
		kind := "(none)"
		if stats.IndexCodec != 0 {
			kind = stats.IndexCodec.String()
		}
		line("Index type: %s", kind)
	}

	switch len(stats.Roots) {
	case 0:
		line("Roots: (none)")
	case 1:
		line("Roots: %s", stats.Roots[0])
	default:
		line("Roots:")
		for _, root := range stats.Roots {
			line("\t%s", root)
		}
	}
	present := "No"
	if stats.RootsPresent {
		present = "Yes"
	}
	line("Root blocks present in data: %s", present)

	line("Block count: %d", stats.BlockCount)
	line("Min / average / max block length (bytes): %d / %d / %d",
		stats.MinBlockLength, stats.AvgBlockLength, stats.MaxBlockLength)
	line("Min / average / max CID length (bytes): %d / %d / %d",
		stats.MinCidLength, stats.AvgCidLength, stats.MaxCidLength)
	counts := func(title string, byCode map[multicodec.Code]uint64) {
		line("%s:", title)
		for _, code := range slices.Sorted(maps.Keys(byCode)) {
			line("\t%s: %d", code, byCode[code])
		}
	}
	counts("Block count per codec", stats.CodecCounts)
	counts("CID count per multihash", stats.MhTypeCounts)
	return nil
}
