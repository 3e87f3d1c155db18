package main

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	ipld "github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/linking"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/ipld/go-ipld-prime/traversal/selector"
	selectorparse "github.com/ipld/go-ipld-prime/traversal/selector/parse"
)

// walk loads every block that the first root leads to, each once, by
// go-ipld-prime's traversal.
func (r *benchRun) walk() error {
	return r.timed(func() error { return r.walkFrom(r.verifies) })
}

// verifyDeep is "car verify" and then a walk, which need not hash again.
func (r *benchRun) verifyDeep() error {
	return r.timed(func() error {
		if err := verify([]string{r.path}, io.Discard); err != nil {
			return err
		}
		return r.walkFrom(false)
	})
}

func (r *benchRun) walkFrom(check bool) error {
	store, closeStore, root, err := r.openDAG()
	if err != nil {
		return err
	}
	defer closeStore()
	links := r.loading(store, check)
	chosen, err := selector.CompileSelector(selectorparse.CommonSelector_ExploreAllRecursively)
	if err != nil {
		return err
	}
	first := cidlink.Link{Cid: root}
	kind, _ := prototypeOf(first, ipld.LinkContext{})
	node, err := links.Load(ipld.LinkContext{Ctx: context.Background()}, first, kind)
	if err != nil {
		return err
	}
	progress := traversal.Progress{Cfg: &traversal.Config{
		LinkSystem:                     links,
		LinkTargetNodePrototypeChooser: prototypeOf,
		LinkVisitOnlyOnce:              true,
	}}
	return progress.WalkAdv(node, chosen, func(traversal.Progress, datamodel.Node, traversal.VisitReason) error {
		return nil
	})
}

// getDAG writes the DAG of the first root to OUT, by go-car's selective writer,
// which walks twice: to learn the size, and to write.
func (r *benchRun) getDAG() error {
	if err := r.needOut(); err != nil {
		return err
	}
	err := r.timed(func() error {
		store, closeStore, root, err := r.openDAG()
		if err != nil {
			return err
		}
		defer closeStore()
		links := r.loading(store, r.verifies)
		everything := selectorparse.CommonSelector_ExploreAllRecursively
		if err := car.TraverseToFile(context.Background(), &links, root, everything, r.out, r.options...); err != nil {
			return err
		}
		return r.synced()
	})
	r.Blocks = 0 // each was loaded twice
	return err
}

func (r *benchRun) openDAG() (*blockstore.ReadOnly, func() error, cid.Cid, error) {
	store, closeStore, err := r.openStore()
	if err != nil {
		return nil, nil, cid.Undef, err
	}
	roots, err := store.Roots()
	if err == nil && len(roots) == 0 {
		err = errors.New("no roots")
	}
	if err != nil {
		closeStore()
		return nil, nil, cid.Undef, err
	}
	return store, closeStore, roots[0], nil
}

func (r *benchRun) loading(store *blockstore.ReadOnly, check bool) linking.LinkSystem {
	links := cidlink.DefaultLinkSystem()
	links.TrustedStorage = !check
	links.StorageReadOpener = func(context linking.LinkContext, link datamodel.Link) (io.Reader, error) {
		block, err := store.Get(context.Ctx, link.(cidlink.Link).Cid)
		if err != nil {
			return nil, err
		}
		r.Blocks++
		return bytes.NewReader(block.RawData()), nil
	}
	return links
}
