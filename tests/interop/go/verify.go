package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multihash"
)

func verify(args []string, _ io.Writer) error {
	paths, err := parse(newFlags("verify"), args, 1, 1)
	if err != nil {
		return err
	}
	reader, err := car.OpenReader(paths[0])
	if err != nil {
		return err
	}
	defer reader.Close()

	roots, err := reader.Roots()
	if err != nil {
		return err
	}
	if len(roots) == 0 {
		return errors.New("no roots listed in car header")
	}
	if reader.Version == 2 {
		if err := checkHeader(reader.Header, paths[0]); err != nil {
			return err
		}
	}
	cids, err := checkBlocks(paths[0], roots)
	if err != nil {
		return err
	}
	if reader.Version == 2 && reader.Header.HasIndex() {
		return checkIndex(reader, cids)
	}
	return nil
}

// checkHeader is as "car verify" has it, which takes no account of data padding
// and refuses every CARv2 without an index.
func checkHeader(header car.Header, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	const prefix = car.PragmaSize + car.HeaderSize
	end := prefix + header.DataSize
	switch {
	case header.DataSize == 0:
		return errors.New("header claims a payload of 0 bytes")
	case uint64(info.Size()) > end && header.IndexOffset == 0:
		return errors.New("header claims no index, but extra bytes in file beyond data size")
	case header.DataOffset < prefix:
		return fmt.Errorf("data offset %d lies within the header", header.DataOffset)
	case header.IndexOffset < end:
		return fmt.Errorf("index offset overlaps with data. data ends at %d. index offset of %d",
			end, header.IndexOffset)
	}
	return nil
}

// checkBlocks verifies every block, requires each root among them, and returns
// their CIDs.
func checkBlocks(path string, roots []cid.Cid) ([]cid.Cid, error) {
	missing := map[cid.Cid]struct{}{}
	for _, root := range roots {
		missing[root] = struct{}{}
	}
	var cids []cid.Cid
	_, err := eachBlock(path, func(key cid.Cid, _ []byte) error {
		delete(missing, key)
		cids = append(cids, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("header lists root(s) not present as a block: %v", missing)
	}
	return cids, nil
}

func checkIndex(reader *car.Reader, cids []cid.Cid) error {
	stored, err := reader.IndexReader()
	if err != nil {
		return err
	}
	idx, err := index.ReadFrom(stored)
	if err != nil {
		return err
	}
	for _, key := range cids {
		if key.Prefix().MhType == multihash.IDENTITY {
			continue
		}
		if _, err := index.GetFirst(idx, key); err != nil {
			return fmt.Errorf("could not look up known cid %s in index: %w", key, err)
		}
	}
	return nil
}
