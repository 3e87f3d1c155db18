package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/filecoin-project/dagstore/index"
	"github.com/filecoin-project/dagstore/shard"
	"github.com/ipfs/go-cid"
	carindex "github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multihash"
)

func keys(_ context.Context, out io.Writer, arguments []string) error {
	repo, err := index.NewFSRepo(arguments[0])
	if err != nil {
		return err
	}
	var found []string
	err = repo.ForEach(func(key shard.Key) (bool, error) {
		found = append(found, key.String())
		return true, nil
	})
	sort.Strings(found)
	for _, key := range found {
		fmt.Fprintln(out, key)
	}
	return err
}

func open(arguments []string) (carindex.Index, error) {
	repo, err := index.NewFSRepo(arguments[0])
	if err != nil {
		return nil, err
	}
	return repo.GetFullIndex(shard.KeyFromString(arguments[1]))
}

func entries(_ context.Context, out io.Writer, arguments []string) error {
	found, err := open(arguments)
	if err != nil {
		return err
	}
	iterable, ok := found.(carindex.IterableIndex)
	if !ok {
		_, err = fmt.Fprintf(out, "not iterable: %s\n", found.Codec())
		return err
	}
	return iterable.ForEach(func(hash multihash.Multihash, offset uint64) error {
		_, err := fmt.Fprintf(out, "%s %d\n", hash.HexString(), offset)
		return err
	})
}

func lookUp(_ context.Context, out io.Writer, arguments []string) error {
	found, err := open(arguments)
	if err != nil {
		return err
	}
	return lines(1, func(words []string) error {
		hash, err := hex.DecodeString(words[0])
		if err != nil {
			return err
		}
		fmt.Fprint(out, words[0])
		err = found.GetAll(cid.NewCidV1(cid.Raw, hash), func(offset uint64) bool {
			fmt.Fprintf(out, " %d", offset)
			return true
		})
		if errors.Is(err, carindex.ErrNotFound) {
			fmt.Fprint(out, " missing")
			err = nil
		}
		fmt.Fprintln(out)
		return err
	})
}
