package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-car/v2/blockstore"
	dagpb "github.com/ipld/go-codec-dagpb"
	ipld "github.com/ipld/go-ipld-prime"
	_ "github.com/ipld/go-ipld-prime/codec/cbor"
	_ "github.com/ipld/go-ipld-prime/codec/dagcbor"
	_ "github.com/ipld/go-ipld-prime/codec/dagjson"
	_ "github.com/ipld/go-ipld-prime/codec/json"
	_ "github.com/ipld/go-ipld-prime/codec/raw"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/linking"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	selectorparse "github.com/ipld/go-ipld-prime/traversal/selector/parse"
)

// selection is what came of one selector: the CIDs of the blocks that were
// loaded, in that order, up to the error.
type selection struct {
	Loaded []string `json:"loaded"`
	Error  string   `json:"error,omitempty"`
}

// selectBlocks runs the selectors that stand on standard input, one
// "ROOT SELECTOR" a line, and prints a selection for each.
func selectBlocks(args []string, out io.Writer) error {
	flags := newFlags("select")
	once := flags.Bool("once", false, "visit each link once")
	skip := flags.Bool("skip-missing", false, "pass missing blocks over")
	paths, err := parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	store, err := blockstore.OpenReadOnly(paths[0])
	if err != nil {
		return err
	}
	defer store.Close()
	encoder := json.NewEncoder(out)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		root, text, _ := strings.Cut(lines.Text(), " ")
		found := selection{Loaded: []string{}}
		if err := found.run(store, root, text, *once, *skip); err != nil {
			found.Error = err.Error()
		}
		if err := encoder.Encode(found); err != nil {
			return err
		}
	}
	return lines.Err()
}

// run walks by one selector; a panic of the library is an error.
func (s *selection) run(store *blockstore.ReadOnly, root, text string, once, skip bool) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	chosen, err := selectorparse.ParseAndCompileJSONSelector(text)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	start, err := cid.Decode(root)
	if err != nil {
		return err
	}
	links := s.linkSystem(store, skip)
	first := cidlink.Link{Cid: start}
	kind, _ := prototypeOf(first, ipld.LinkContext{})
	node, err := links.Load(ipld.LinkContext{}, first, kind)
	if err != nil {
		return err
	}
	progress := traversal.Progress{Cfg: &traversal.Config{
		LinkSystem:                     links,
		LinkTargetNodePrototypeChooser: prototypeOf,
		LinkVisitOnlyOnce:              once,
	}}
	return progress.WalkAdv(node, chosen, func(traversal.Progress, datamodel.Node, traversal.VisitReason) error {
		return nil
	})
}

// linkSystem loads from store and notes what it loads.
func (s *selection) linkSystem(store *blockstore.ReadOnly, skip bool) linking.LinkSystem {
	links := cidlink.DefaultLinkSystem()
	links.TrustedStorage = true
	links.StorageReadOpener = func(context linking.LinkContext, link datamodel.Link) (io.Reader, error) {
		wanted := link.(cidlink.Link).Cid
		block, err := store.Get(context.Ctx, wanted)
		if err != nil {
			if skip {
				return nil, traversal.SkipMe{}
			}
			return nil, err
		}
		s.Loaded = append(s.Loaded, wanted.String())
		return bytes.NewReader(block.RawData()), nil
	}
	return links
}

func prototypeOf(link datamodel.Link, _ ipld.LinkContext) (datamodel.NodePrototype, error) {
	if link.(cidlink.Link).Cid.Prefix().Codec == cid.DagProtobuf {
		return dagpb.Type.PBNode, nil
	}
	return basicnode.Prototype.Any, nil
}
