package main

import (
	"context"
	"fmt"
	"io"
	"os"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
)

func put(args []string, _ io.Writer) error {
	flags := newFlags("put")
	var settings storeFlags
	settings.register(flags)
	paths, err := parse(flags, args, 2, 2)
	if err != nil {
		return err
	}
	if err := requireNew(paths[1]); err != nil {
		return err
	}
	return write(paths[0], paths[1], 0, &settings)
}

func resume(args []string, _ io.Writer) error {
	flags := newFlags("resume")
	var settings storeFlags
	settings.register(flags)
	skip := flags.Int("skip", 0, "how many blocks of SRC to pass over")
	paths, err := parse(flags, args, 2, 2)
	if err != nil {
		return err
	}
	if err := requireOld(paths[1]); err != nil {
		return err
	}
	return write(paths[0], paths[1], *skip, &settings)
}

// The library takes an empty file for a new one and resumes any other, so a
// command that means one of the two has to look first.
func requireNew(path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s exists already", path)
	}
	return nil
}

func requireOld(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return err
}

// write puts the blocks of source after the first skip into destination.
func write(source, destination string, skip int, settings *storeFlags) error {
	options, err := settings.options()
	if err != nil {
		return err
	}
	roots, err := rootsOf(source)
	if err != nil {
		return err
	}
	store, err := blockstore.OpenReadWrite(destination, roots, options...)
	if err != nil {
		return err
	}
	limit := -1
	if settings.count >= 0 {
		limit = skip + settings.count
	}
	seen := 0
	_, err = eachBlock(source, func(key cid.Cid, data []byte) error {
		if seen == limit {
			return errStop
		}
		seen++
		if seen <= skip {
			return nil
		}
		block, err := blocks.NewBlockWithCid(data, key)
		if err != nil {
			return err
		}
		return store.Put(context.Background(), block)
	}, car.WithTrustedCAR(true), car.ZeroLengthSectionAsEOF(settings.nullPadding))
	if err != nil || settings.noFinalize {
		store.Discard()
		return err
	}
	return store.Finalize()
}

func rootsOf(path string) ([]cid.Cid, error) {
	file, reader, err := openBlocks(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return reader.Roots, nil
}
