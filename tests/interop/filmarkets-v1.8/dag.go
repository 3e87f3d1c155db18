package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/filecoin-project/go-fil-markets/stores"
	"github.com/ipfs/go-blockservice"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-cidutil"
	"github.com/ipfs/go-ipfs-blockstore"
	"github.com/ipfs/go-ipfs-chunker"
	"github.com/ipfs/go-ipfs-exchange-offline"
	"github.com/ipfs/go-ipfs-files"
	"github.com/ipfs/go-ipfs-posinfo"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/go-merkledag"
	unixfile "github.com/ipfs/go-unixfs/file"
	"github.com/ipfs/go-unixfs/importer/balanced"
	"github.com/ipfs/go-unixfs/importer/helpers"
	"github.com/multiformats/go-multihash"
)

const inlineLimit = 126

type importer struct {
	chunkSize int64
	links     int
}

// twoPasses imports as Lotus did: once to learn the root, for which the
// header must be written first, and once more for good.
func (i importer) twoPasses(ctx context.Context, source, target string, once bool) (cid.Cid, error) {
	scratch := target + ".pass1"
	defer os.Remove(scratch)
	learnt, err := i.pass(ctx, source, scratch)
	if err != nil || once {
		return learnt, errors.Join(err, os.Rename(scratch, target))
	}
	root, err := i.pass(ctx, source, target, learnt)
	if err == nil && !root.Equals(learnt) {
		err = fmt.Errorf("roots do not match: %s, %s", learnt, root)
	}
	return root, err
}

func (i importer) pass(ctx context.Context, source, target string, roots ...cid.Cid) (cid.Cid, error) {
	store, err := stores.ReadWriteFilestore(target, roots...)
	if err != nil {
		return cid.Undef, err
	}
	root, err := i.build(ctx, source, store)
	return root, errors.Join(err, store.Close())
}

// build makes the DAG of a file; its leaves carry where they stand in it,
// which the store keeps instead of them.
func (i importer) build(ctx context.Context, source string, store blockstore.Blockstore) (cid.Cid, error) {
	opened, err := os.Open(source)
	if err != nil {
		return cid.Undef, err
	}
	defer opened.Close()
	status, err := opened.Stat()
	if err != nil {
		return cid.Undef, err
	}
	positioned, err := files.NewReaderPathFile(source, opened, status)
	if err != nil {
		return cid.Undef, err
	}
	nodes := format.NewBufferedDAG(ctx, service(store))
	parameters := helpers.DagBuilderParams{
		Dagserv:    nodes,
		Maxlinks:   i.links,
		RawLeaves:  true,
		NoCopy:     true,
		CidBuilder: cids(),
	}
	builder, err := parameters.New(chunk.NewSizeSplitter(positioned, i.chunkSize))
	if err != nil {
		return cid.Undef, err
	}
	root, err := balanced.Layout(builder)
	if err != nil {
		return cid.Undef, err
	}
	return root.Cid(), nodes.Commit()
}

func cids() cid.Builder {
	return cidutil.InlineBuilder{
		Builder: cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.BLAKE2B_MIN + 31},
		Limit:   inlineLimit,
	}
}

func service(store blockstore.Blockstore) format.DAGService {
	return merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
}

// oneLeaf writes a ref-CAR of a single leaf, which is its root.
func oneLeaf(path string, offset uint64, data []byte, target string) (cid.Cid, error) {
	node, err := merkledag.NewRawNodeWPrefix(data, cid.V1Builder{Codec: cid.Raw, MhType: multihash.SHA2_256})
	if err != nil {
		return cid.Undef, err
	}
	store, err := stores.ReadWriteFilestore(target, node.Cid())
	if err != nil {
		return cid.Undef, err
	}
	place := &posinfo.PosInfo{Offset: offset, FullPath: path}
	err = store.Put(&posinfo.FilestoreNode{Node: node, PosInfo: place})
	return node.Cid(), errors.Join(err, store.Close())
}

// payload reads a UnixFS file from its root: the SHA-256 and how many bytes.
func payload(ctx context.Context, store blockstore.Blockstore, root cid.Cid) ([]byte, int64, error) {
	nodes := service(store)
	node, err := nodes.Get(ctx, root)
	if err != nil {
		return nil, 0, err
	}
	found, err := unixfile.NewUnixfsFile(ctx, nodes, node)
	if err != nil {
		return nil, 0, err
	}
	file, ok := found.(files.File)
	if !ok {
		return nil, 0, fmt.Errorf("%s is no file", root)
	}
	digest := sha256.New()
	count, err := io.Copy(digest, file)
	return digest.Sum(nil), count, err
}
