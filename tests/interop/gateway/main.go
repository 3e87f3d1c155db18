// Answers as a trustless gateway does, from the blocks of an archive:
// gateway ARCHIVE PATH SCOPE DUPS [FROM [TO]]
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/ipfs/boxo/blockservice"
	blockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	car "github.com/ipld/go-car/v2"
)

func main() {
	if err := answer(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(args []string) error {
	ctx := context.Background()
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	reader, err := car.NewBlockReader(file)
	if err != nil {
		return err
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	for {
		block, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := store.Put(ctx, block); err != nil {
			return err
		}
	}
	backend, err := gateway.NewBlocksBackend(blockservice.New(blockstore.NewIdStore(store), offline.Exchange(store)))
	if err != nil {
		return err
	}
	asked, err := path.NewPath(args[1])
	if err != nil {
		return err
	}
	immutable, err := path.NewImmutablePath(asked)
	if err != nil {
		return err
	}
	dups, err := gateway.NewDuplicateBlocksPolicy(args[3])
	if err != nil {
		return err
	}
	params := gateway.CarParams{Scope: gateway.DagScope(args[2]), Order: gateway.DagOrderDFS, Duplicates: dups}
	if len(args) > 4 {
		params.Range = &gateway.DagByteRange{}
		if params.Range.From, err = strconv.ParseInt(args[4], 10, 64); err != nil {
			return err
		}
		if len(args) > 5 {
			to, err := strconv.ParseInt(args[5], 10, 64)
			if err != nil {
				return err
			}
			params.Range.To = &to
		}
	}
	_, stream, err := backend.GetCAR(ctx, immutable, params)
	if err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, stream)
	return err
}
