// Command filmarkets writes and reads ref-CARs with the stores package of
// go-fil-markets, as the client half of Lotus did.
//
//	write [--chunk N] [--links N] [--one-pass] INPUT OUT   import a file; prints the root
//	leaf PATH OFFSET DATA OUT   one explicit sha2-256 leaf, whatever its size; prints its CID
//	read CAR ROOT               the payload of a UnixFS file: its SHA-256 and size
//	get CAR CID                 the bytes of a block
//	has CAR CID                 true or false
//	size CAR CID                the size of a block
//	keys CAR                    every CID that the store lists
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/filecoin-project/go-fil-markets/stores"
	"github.com/ipfs/go-cid"
)

var commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"write": write,
	"leaf":  leaf,
	"read":  read,
	"get":   get,
	"has":   has,
	"size":  size,
	"keys":  keys,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "filmarkets:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("usage: filmarkets write|leaf|read|get|has|size|keys ARGUMENTS")
	}
	return commands[args[0]](context.Background(), args[1:], os.Stdout)
}

func write(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("write", flag.ContinueOnError)
	settings := importer{}
	flags.Int64Var(&settings.chunkSize, "chunk", 1<<20, "")
	flags.IntVar(&settings.links, "links", 1024, "")
	onePass := flags.Bool("one-pass", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("write: INPUT OUT")
	}
	source, err := filepath.Abs(flags.Arg(0))
	if err != nil {
		return err
	}
	root, err := settings.twoPasses(ctx, source, flags.Arg(1), *onePass)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, root)
	return err
}

func leaf(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 4 {
		return errors.New("leaf: PATH OFFSET DATA OUT")
	}
	offset, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := oneLeaf(ctx, args[0], offset, []byte(args[2]), args[3])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, c)
	return err
}

// opened runs what is asked of a block with the archive open.
func opened(args []string, names string, with func(stores.ClosableBlockstore, cid.Cid) error) error {
	if len(args) != 2 {
		return errors.New(names)
	}
	c, err := cid.Decode(args[1])
	if err != nil {
		return err
	}
	store, err := stores.ReadOnlyFilestore(args[0])
	if err != nil {
		return err
	}
	err = with(store, c)
	return errors.Join(err, store.Close())
}

func read(ctx context.Context, args []string, out io.Writer) error {
	return opened(args, "read: CAR ROOT", func(store stores.ClosableBlockstore, root cid.Cid) error {
		digest, count, err := payload(ctx, store, root)
		if err == nil {
			_, err = fmt.Fprintf(out, "%x %d\n", digest, count)
		}
		return err
	})
}

func get(ctx context.Context, args []string, out io.Writer) error {
	return opened(args, "get: CAR CID", func(store stores.ClosableBlockstore, c cid.Cid) error {
		block, err := store.Get(ctx, c)
		if err == nil {
			_, err = out.Write(block.RawData())
		}
		return err
	})
}

func has(ctx context.Context, args []string, out io.Writer) error {
	return opened(args, "has: CAR CID", func(store stores.ClosableBlockstore, c cid.Cid) error {
		found, err := store.Has(ctx, c)
		if err == nil {
			_, err = fmt.Fprintln(out, found)
		}
		return err
	})
}

func size(ctx context.Context, args []string, out io.Writer) error {
	return opened(args, "size: CAR CID", func(store stores.ClosableBlockstore, c cid.Cid) error {
		count, err := store.GetSize(ctx, c)
		if err == nil {
			_, err = fmt.Fprintln(out, count)
		}
		return err
	})
}

func keys(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("keys: CAR")
	}
	store, err := stores.ReadOnlyFilestore(args[0])
	if err != nil {
		return err
	}
	listed, err := store.AllKeysChan(ctx)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	for c := range listed {
		fmt.Fprintln(out, c)
	}
	return store.Close()
}
