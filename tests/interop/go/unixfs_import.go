package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-cidutil"
	format "github.com/ipfs/go-ipld-format"
	"github.com/ipfs/go-unixfsnode/data/builder"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"

	blocks "github.com/ipfs/go-block-format"
	"github.com/multiformats/go-multihash"
)

// unixfsImport prints the root CIDs that another importer gives files or
// folders: boxo, which is Kubo's, with the settings of a profile; or
// go-unixfsnode, which "car create" packs with, for the profile go-car.
func unixfsImport(args []string, out io.Writer) error {
	flags := newFlags("unixfs-import")
	profile := flags.String("profile", "unixfs-v1-2025", "")
	wrap := flags.Bool("wrap", false, "")
	hidden := flags.Bool("hidden", false, "")
	archive := flags.String("car", "", "")
	chunkSize := flags.Int64("chunk-size", 0, "")
	fileLinks := flags.Int("file-links", 0, "")
	paths, err := parse(flags, args, 1, 1<<20)
	if err != nil {
		return err
	}
	if *profile == "go-car" {
		setBuilder(*chunkSize, *fileLinks)
	}
	for _, path := range paths {
		var root cid.Cid
		if *profile == "go-car" {
			root, err = packWithBuilder(path, *archive, *wrap)
		} else {
			var importer *boxoImporter
			if importer, err = newBoxoImporter(*profile, *hidden, *chunkSize, *fileLinks); err == nil {
				root, err = importer.run(path, *wrap)
			}
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, root); err != nil {
			return err
		}
	}
	return nil
}

func setBuilder(chunkSize int64, fileLinks int) {
	if chunkSize > 0 {
		chunk.DefaultBlockSize = chunkSize
	}
	if fileLinks > 0 {
		builder.DefaultLinksPerBlock = fileLinks
	}
}

type boxoImporter struct {
	store    format.DAGService
	settings uio.UnixFSProfile
	cids     cid.Builder
	hidden   bool
}

// newBoxoImporter takes the settings of a profile; of the last two arguments
// those that are not 0 count instead.
func newBoxoImporter(profile string, hidden bool, chunkSize int64, fileLinks int) (*boxoImporter, error) {
	importer := &boxoImporter{store: &memoryDAG{nodes: map[cid.Cid]format.Node{}}, hidden: hidden}
	switch profile {
	case "unixfs-v0-2015":
		importer.settings = uio.UnixFS_v0_2015
	case "unixfs-v1-2025":
		importer.settings = uio.UnixFS_v1_2025
	case "kubo-legacy-v1":
		importer.settings = uio.UnixFS_v0_2015
		importer.settings.CIDVersion, importer.settings.RawLeaves = 1, true
	case "lotus":
		importer.settings = uio.UnixFS_v1_2025
		importer.settings.MhType = multihash.BLAKE2B_MIN + 31
		importer.settings.HAMTSizeEstimation = uio.SizeEstimationLinks
	default:
		return nil, fmt.Errorf("unknown profile %q", profile)
	}
	if chunkSize > 0 {
		importer.settings.ChunkSize = chunkSize
	}
	if fileLinks > 0 {
		importer.settings.FileDAGWidth = fileLinks
	}
	importer.settings.ApplyGlobals()
	importer.cids = importer.settings.CidBuilder()
	if profile == "lotus" {
		importer.cids = cidutil.InlineBuilder{Builder: importer.cids, Limit: 126}
	}
	return importer, nil
}

func (b *boxoImporter) run(path string, wrap bool) (cid.Cid, error) {
	node, err := b.add(path)
	if err != nil {
		return cid.Undef, err
	}
	if wrap {
		if node, err = b.directory(map[string]format.Node{filepath.Base(path): node}); err != nil {
			return cid.Undef, err
		}
	}
	return node.Cid(), nil
}

func (b *boxoImporter) add(path string) (format.Node, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, err
		}
		children := map[string]format.Node{}
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), ".") && !b.hidden {
				continue
			}
			if children[entry.Name()], err = b.add(filepath.Join(path, entry.Name())); err != nil {
				return nil, err
			}
		}
		return b.directory(children)
	case info.Mode()&os.ModeSymlink != 0:
		return b.symlink(path)
	case info.Mode().IsRegular():
		return b.file(path)
	}
	return nil, fmt.Errorf("%s is no file, folder or symlink", path)
}

func (b *boxoImporter) file(path string) (format.Node, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	parameters := helpers.DagBuilderParams{
		Dagserv:    b.store,
		Maxlinks:   b.settings.FileDAGWidth,
		RawLeaves:  b.settings.RawLeaves,
		CidBuilder: b.cids,
	}
	helper, err := parameters.New(chunk.NewSizeSplitter(file, b.settings.ChunkSize))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(helper)
}

func (b *boxoImporter) symlink(path string) (format.Node, error) {
	target, err := os.Readlink(path)
	if err != nil {
		return nil, err
	}
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return nil, err
	}
	node := merkledag.NodeWithData(data)
	if err := node.SetCidBuilder(b.cids); err != nil {
		return nil, err
	}
	return node, b.store.Add(context.Background(), node)
}

func (b *boxoImporter) directory(children map[string]format.Node) (format.Node, error) {
	directory, err := uio.NewDirectory(b.store, uio.WithCidBuilder(b.cids))
	if err != nil {
		return nil, err
	}
	for name, child := range children {
		if err := directory.AddChild(context.Background(), name, child); err != nil {
			return nil, err
		}
	}
	node, err := directory.GetNode()
	if err != nil {
		return nil, err
	}
	return node, b.store.Add(context.Background(), node)
}

// memoryDAG keeps nodes in memory: leaves of files only by their CID, since
// nobody asks for them again.
type memoryDAG struct{ nodes map[cid.Cid]format.Node }

func (m *memoryDAG) Get(_ context.Context, key cid.Cid) (format.Node, error) {
	if node, ok := m.nodes[key]; ok {
		return node, nil
	}
	return nil, format.ErrNotFound{Cid: key}
}

func (m *memoryDAG) GetMany(ctx context.Context, keys []cid.Cid) <-chan *format.NodeOption {
	found := make(chan *format.NodeOption, len(keys))
	for _, key := range keys {
		node, err := m.Get(ctx, key)
		found <- &format.NodeOption{Node: node, Err: err}
	}
	close(found)
	return found
}

func (m *memoryDAG) Add(_ context.Context, node format.Node) error {
	if node.Cid().Prefix().Codec != cid.Raw {
		m.nodes[node.Cid()] = node
	}
	return nil
}

func (m *memoryDAG) AddMany(ctx context.Context, nodes []format.Node) error {
	for _, node := range nodes {
		if err := m.Add(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryDAG) Remove(_ context.Context, key cid.Cid) error {
	delete(m.nodes, key)
	return nil
}

func (m *memoryDAG) RemoveMany(ctx context.Context, keys []cid.Cid) error {
	for _, key := range keys {
		if err := m.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// packWithBuilder does what "car create" does: into a CARv2 whose root is
// replaced at the end; without a path of one, the blocks are dropped.
func packWithBuilder(path, archive string, wrap bool) (cid.Cid, error) {
	put := func(cid.Cid, []byte) error { return nil }
	finish := func(cid.Cid) error { return nil }
	if archive != "" {
		empty, err := cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256}.Sum(nil)
		if err != nil {
			return cid.Undef, err
		}
		store, err := blockstore.OpenReadWrite(archive, []cid.Cid{empty})
		if err != nil {
			return cid.Undef, err
		}
		put = func(key cid.Cid, data []byte) error {
			block, err := blocks.NewBlockWithCid(data, key)
			if err != nil {
				return err
			}
			return store.Put(context.Background(), block)
		}
		finish = func(root cid.Cid) error {
			if err := store.Finalize(); err != nil {
				return err
			}
			return car.ReplaceRootsInFile(archive, []cid.Cid{root})
		}
	}
	root, err := build(path, wrap, put)
	if err != nil {
		return cid.Undef, err
	}
	return root, finish(root)
}

func build(path string, wrap bool, put func(cid.Cid, []byte) error) (cid.Cid, error) {
	links := cidlink.DefaultLinkSystem()
	links.TrustedStorage = true
	links.StorageWriteOpener = func(ipld.LinkContext) (io.Writer, ipld.BlockWriteCommitter, error) {
		var data buffer
		return &data, func(link ipld.Link) error {
			key, ok := link.(cidlink.Link)
			if !ok {
				return errors.New("a link that is no CID")
			}
			return put(key.Cid, data)
		}, nil
	}
	link, size, err := builder.BuildUnixFSRecursive(path, &links)
	if err != nil {
		return cid.Undef, err
	}
	if wrap {
		entry, err := builder.BuildUnixFSDirectoryEntry(filepath.Base(path), int64(size), link)
		if err != nil {
			return cid.Undef, err
		}
		if link, _, err = builder.BuildUnixFSDirectory([]dagpb.PBLink{entry}, &links); err != nil {
			return cid.Undef, err
		}
	}
	return link.(cidlink.Link).Cid, nil
}

type buffer []byte

func (b *buffer) Write(data []byte) (int, error) {
	*b = append(*b, data...)
	return len(data), nil
}
