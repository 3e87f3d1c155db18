package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/filecoin-project/dagstore"
	"github.com/filecoin-project/dagstore/index"
	"github.com/filecoin-project/dagstore/mount"
	"github.com/filecoin-project/dagstore/shard"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	"github.com/ipfs/go-datastore/query"
	"github.com/ipfs/go-datastore/sync"
)

const recordsName = "shards.jsonl"

// openStore starts a dagstore on the indexes in a folder and on the records in
// a datastore.
func openStore(ctx context.Context, folder string, records datastore.Batching) (*dagstore.DAGStore, error) {
	repo, err := index.NewFSRepo(filepath.Join(folder, "index"))
	if err != nil {
		return nil, err
	}
	mounts := mount.NewRegistry()
	if err := mounts.Register("fs", &mount.FSMount{FS: os.DirFS("/")}); err != nil {
		return nil, err
	}
	transients, err := os.MkdirTemp("", "dagstore")
	if err != nil {
		return nil, err
	}
	store, err := dagstore.NewDAGStore(dagstore.Config{
		TransientsDir: transients,
		IndexRepo:     repo,
		Datastore:     records,
		MountRegistry: mounts,
	})
	if err != nil {
		return nil, err
	}
	return store, store.Start(ctx)
}

func newRecords() datastore.Batching {
	return sync.MutexWrap(datastore.NewMapDatastore())
}

func makeFolder(ctx context.Context, _ io.Writer, arguments []string) error {
	folder := arguments[0]
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	records := newRecords()
	store, err := openStore(ctx, folder, records)
	if err != nil {
		return err
	}
	err = lines(3, func(words []string) error { return register(ctx, store, words[0], words[1], words[2]) })
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	return writeRecords(ctx, folder, records)
}

func register(ctx context.Context, store *dagstore.DAGStore, name, mode, path string) error {
	key, results := shard.KeyFromString(name), make(chan dagstore.ShardResult, 1)
	of := &mount.FSMount{FS: os.DirFS("/"), Path: strings.TrimPrefix(path, "/")}
	options := dagstore.RegisterOpts{LazyInitialization: mode == "lazy"}
	if err := store.RegisterShard(ctx, key, of, results, options); err != nil {
		return err
	}
	<-results // an error is kept with the shard
	if mode != "serving" {
		return nil
	}
	if err := store.AcquireShard(ctx, key, results, dagstore.AcquireOpts{}); err != nil {
		return err
	}
	return (<-results).Error
}

func writeRecords(ctx context.Context, folder string, records datastore.Batching) error {
	found, err := namespace.Wrap(records, dagstore.StoreNamespace).Query(ctx, query.Query{})
	if err != nil {
		return err
	}
	all, err := found.Rest()
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(folder, recordsName))
	if err != nil {
		return err
	}
	for _, record := range all {
		fmt.Fprintf(file, "%s\n", record.Value)
	}
	return file.Close()
}

func readRecords(ctx context.Context, folder string) (datastore.Batching, error) {
	file, err := os.Open(filepath.Join(folder, recordsName))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	records := newRecords()
	inside, scanner := namespace.Wrap(records, dagstore.StoreNamespace), bufio.NewScanner(file)
	for scanner.Scan() {
		var record dagstore.PersistedShard
		if err := json.Unmarshal(scanner.Bytes(), &record); err != nil {
			return nil, err
		}
		if err := inside.Put(ctx, datastore.NewKey(record.Key), []byte(scanner.Text())); err != nil {
			return nil, err
		}
	}
	return records, scanner.Err()
}

func serve(ctx context.Context, out io.Writer, arguments []string) error {
	records, err := readRecords(ctx, arguments[0])
	if err != nil {
		return err
	}
	store, err := openStore(ctx, arguments[0], records)
	if err != nil {
		return err
	}
	var states []string
	for key, info := range store.AllShardsInfo() {
		states = append(states, fmt.Sprintf("%s %s", key, info.ShardState))
	}
	sort.Strings(states)
	for _, state := range states {
		fmt.Fprintln(out, state)
	}
	return lines(2, func(words []string) error {
		sum, err := read(ctx, store, words[0], words[1])
		if err != nil {
			_, err = fmt.Fprintf(out, "%s error %s\n", words[1], err)
			return err
		}
		_, err = fmt.Fprintf(out, "%s %x\n", words[1], sum)
		return err
	})
}

func read(ctx context.Context, store *dagstore.DAGStore, name, text string) ([sha256.Size]byte, error) {
	var none [sha256.Size]byte
	wanted, err := cid.Decode(text)
	if err != nil {
		return none, err
	}
	results := make(chan dagstore.ShardResult, 1)
	if err := store.AcquireShard(ctx, shard.KeyFromString(name), results, dagstore.AcquireOpts{}); err != nil {
		return none, err
	}
	result := <-results
	if result.Error != nil {
		return none, result.Error
	}
	defer result.Accessor.Close()
	blocks, err := result.Accessor.Blockstore()
	if err != nil {
		return none, err
	}
	block, err := blocks.Get(ctx, wanted)
	if err != nil {
		return none, err
	}
	return sha256.Sum256(block.RawData()), nil
}
