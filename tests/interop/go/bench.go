package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"os"
	"runtime/debug"
	"time"

	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multihash"
)

type measurement struct {
	Op              string  `json:"op"`
	Seconds         float64 `json:"seconds"`
	Blocks          uint64  `json:"blocks"`
	Bytes           uint64  `json:"bytes"`
	PeakRssKib      int64   `json:"peak_rss_kib"`
	StartRssKib     int64   `json:"start_rss_kib"`
	FinalizeSeconds float64 `json:"finalize_seconds,omitempty"`
}

// benchRun is one operation: its arguments and what it measures.
type benchRun struct {
	measurement
	path, out string
	bare      bool
	verifies  bool
	syncs     bool
	settings  storeFlags
	options   []car.Option
}

// timed runs work, the only part of an operation that counts. Peak memory is
// read right after it, so what was loaded before is in it and what is looked up
// afterwards is not.
func (r *benchRun) timed(work func() error) error {
	if r.StartRssKib == 0 {
		r.mark()
	}
	err := r.clocked(work)
	r.PeakRssKib = peakRssKib()
	return err
}

// mark notes the memory in use, from where its growth counts.
func (r *benchRun) mark() {
	debug.FreeOSMemory()
	resetPeak()
	r.StartRssKib = rssKib()
}

// clocked adds the time that work takes.
func (r *benchRun) clocked(work func() error) error {
	start := time.Now()
	err := work()
	r.Seconds += time.Since(start).Seconds()
	return err
}

// checked hashes a block and compares, if that was asked for: what a
// blockstore that hashes on reading does, and none of go-car's.
func (r *benchRun) checked(key cid.Cid, data []byte) error {
	if !r.verifies {
		return nil
	}
	found, err := key.Prefix().Sum(data)
	if err == nil && !found.Equals(key) {
		err = fmt.Errorf("%s: the data do not match", key)
	}
	return err
}

// synced makes OUT durable, if that was asked for; go-car never does.
func (r *benchRun) synced() error {
	if !r.syncs {
		return nil
	}
	file, err := os.OpenFile(r.out, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

var operations = map[string]func(*benchRun) error{
	"iterate":          func(r *benchRun) error { return r.iterate(car.WithTrustedCAR(true)) },
	"iterate-verified": func(r *benchRun) error { return r.iterate() },
	"inspect":          func(r *benchRun) error { return r.inspect(false) },
	"inspect-full":     func(r *benchRun) error { return r.inspect(true) },
	"index": func(r *benchRun) error {
		return r.index(func() (index.Index, error) { return indexMapped(r.path, r.options...) })
	},
	"index-file": func(r *benchRun) error {
		return r.index(func() (index.Index, error) { return car.GenerateIndexFromFile(r.path, r.options...) })
	},
	"verify": (*benchRun).verify,
	"wrap":   func(r *benchRun) error { return r.convert(car.WrapV1File) },
	"unwrap": func(r *benchRun) error {
		return r.convert(func(from, to string) error { return car.ExtractV1File(from, to) })
	},
	"open":        (*benchRun).open,
	"get":         (*benchRun).get,
	"put":         (*benchRun).put,
	"resume":      (*benchRun).resume,
	"write":       (*benchRun).write,
	"walk":        (*benchRun).walk,
	"verify-deep": (*benchRun).verifyDeep,
	"get-dag":     (*benchRun).getDAG,
}

func bench(args []string, out io.Writer) error {
	run := &benchRun{}
	flags := newFlags("bench")
	run.settings.register(flags)
	flags.BoolVar(&run.bare, "bare", false, "read straight from the file")
	flags.BoolVar(&run.verifies, "verify", false, "hash each block and compare")
	flags.BoolVar(&run.syncs, "sync", false, "make the output durable")
	arguments, err := parse(flags, args, 2, 3)
	if err != nil {
		return err
	}
	operation, known := operations[arguments[0]]
	if !known {
		return fmt.Errorf("unknown operation %q; see peer help", arguments[0])
	}
	run.Op, run.path = arguments[0], arguments[1]
	if len(arguments) == 3 {
		run.out = arguments[2]
	}
	if run.options, err = run.settings.options(); err != nil {
		return err
	}
	info, err := os.Stat(run.path)
	if err != nil {
		return err
	}
	run.Bytes = uint64(info.Size())
	if err := operation(run); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(run.measurement)
}

func (r *benchRun) needOut() error {
	if r.out == "" {
		return fmt.Errorf("%s needs OUT", r.Op)
	}
	return nil
}

func (r *benchRun) iterate(options ...car.Option) error {
	r.Bytes = 0
	return r.timed(func() error {
		open := openBlocks
		if r.bare {
			open = openBlocksBare
		}
		file, reader, err := open(r.path, append(r.options, options...)...)
		if err != nil {
			return err
		}
		defer file.Close()
		return visitBlocks(reader, func(_ cid.Cid, data []byte) error {
			r.Blocks++
			r.Bytes += uint64(len(data))
			return nil
		})
	})
}

func (r *benchRun) verify() error {
	return r.timed(func() error { return verify([]string{r.path}, io.Discard) })
}

func (r *benchRun) inspect(full bool) error {
	return r.timed(func() error {
		reader, closeFile, err := r.openReader()
		if err != nil {
			return err
		}
		defer closeFile()
		stats, err := reader.Inspect(full)
		r.Blocks = stats.BlockCount
		return err
	})
}

// openReader maps the file, or reads it as it is, which is what "car inspect" does.
func (r *benchRun) openReader() (*car.Reader, func() error, error) {
	if !r.bare {
		reader, err := car.OpenReader(r.path, r.options...)
		if err != nil {
			return nil, nil, err
		}
		return reader, reader.Close, nil
	}
	file, err := os.Open(r.path)
	if err != nil {
		return nil, nil, err
	}
	reader, err := car.NewReader(file, r.options...)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return reader, file.Close, nil
}

func indexMapped(path string, options ...car.Option) (index.Index, error) {
	reader, err := car.OpenReader(path, options...)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	payload, err := reader.DataReader()
	if err != nil {
		return nil, err
	}
	return car.GenerateIndex(payload, options...)
}

func (r *benchRun) index(generate func() (index.Index, error)) error {
	var idx index.Index
	err := r.timed(func() (err error) {
		if idx, err = generate(); err != nil || r.out == "" {
			return err
		}
		return writeFile(r.out, func(file *os.File) error {
			buffered := bufio.NewWriterSize(file, 1<<16)
			if _, err := index.WriteTo(idx, buffered); err != nil {
				return err
			}
			return buffered.Flush()
		})
	})
	if iterable, ok := idx.(index.IterableIndex); ok && err == nil {
		return iterable.ForEach(func(multihash.Multihash, uint64) error {
			r.Blocks++
			return nil
		})
	}
	return err
}

func (r *benchRun) convert(convert func(from, to string) error) error {
	if err := r.needOut(); err != nil {
		return err
	}
	return r.timed(func() error {
		if err := convert(r.path, r.out); err != nil {
			return err
		}
		return r.synced()
	})
}

func (r *benchRun) open() error {
	key, err := firstKey(r.path)
	if err != nil {
		return err
	}
	r.Blocks = 1
	return r.timed(func() error {
		store, closeStore, err := r.openStore()
		if err != nil {
			return err
		}
		defer closeStore()
		_, err = store.Get(context.Background(), key)
		return err
	})
}

// openStore maps the file, as OpenReadOnly does, or reads the *os.File by
// position. Either way the index is loaded.
func (r *benchRun) openStore() (*blockstore.ReadOnly, func() error, error) {
	if !r.bare {
		store, err := blockstore.OpenReadOnly(r.path, r.options...)
		if err != nil {
			return nil, nil, err
		}
		return store, store.Close, nil
	}
	file, err := os.Open(r.path)
	if err != nil {
		return nil, nil, err
	}
	store, err := blockstore.NewReadOnly(file, nil, r.options...)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return store, file.Close, nil
}

func firstKey(path string) (cid.Cid, error) {
	file, reader, err := openBlocks(path)
	if err != nil {
		return cid.Undef, err
	}
	defer file.Close()
	block, err := reader.Next()
	if err != nil {
		return cid.Undef, err
	}
	return block.Cid(), nil
}

func (r *benchRun) get() error {
	count := r.settings.count
	if count < 0 {
		count = 100_000
	}
	random := rand.New(rand.NewSource(1))
	sample, err := sampleKeys(r.path, count, random)
	if err != nil {
		return err
	}
	keys := make([]cid.Cid, count)
	for i := range keys {
		keys[i] = sample[random.Intn(len(sample))]
	}
	if err := warm(r.path); err != nil {
		return err
	}
	r.mark()
	store, closeStore, err := r.openStore()
	if err != nil {
		return err
	}
	defer closeStore()
	r.Bytes = 0
	return r.timed(func() error {
		ctx := context.Background()
		for _, key := range keys {
			block, err := store.Get(ctx, key)
			if err != nil {
				return err
			}
			if err := r.checked(key, block.RawData()); err != nil {
				return err
			}
			r.Blocks++
			r.Bytes += uint64(len(block.RawData()))
		}
		return nil
	})
}

// warm reads the file, so that nothing waits for the disk: a machine may have
// let go of what was not looked at meanwhile.
func warm(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, file)
	return err
}

// sampleKeys draws at most size of the file's CIDs, each as likely as any
// other. Identity CIDs are left out: getting one does not read the file.
func sampleKeys(path string, size int, random *rand.Rand) ([]cid.Cid, error) {
	file, reader, err := openBlocks(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var sample []cid.Cid
	for seen := 0; ; {
		block, err := reader.SkipNext()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if block.Cid.Prefix().MhType == multihash.IDENTITY {
			continue
		}
		seen++
		if len(sample) < size {
			sample = append(sample, block.Cid)
		} else if place := random.Intn(seen); place < size {
			sample[place] = block.Cid
		}
	}
	if len(sample) == 0 {
		return nil, fmt.Errorf("%s has no blocks to get", path)
	}
	return sample, nil
}

func (r *benchRun) resume() error {
	if err := r.needOut(); err != nil {
		return err
	}
	if err := requireOld(r.out); err != nil {
		return err
	}
	info, err := os.Stat(r.out)
	if err != nil {
		return err
	}
	r.Bytes = uint64(info.Size())
	roots, err := rootsOf(r.path)
	if err != nil {
		return err
	}
	var store *blockstore.ReadWrite
	err = r.timed(func() (err error) {
		if err := r.checkedSections(); err != nil {
			return err
		}
		store, err = blockstore.OpenReadWrite(r.out, roots, r.options...)
		return err
	})
	if err != nil {
		return err
	}
	if inserted, ok := store.Index().(*index.InsertionIndex); ok {
		err := inserted.ForEachCid(func(cid.Cid, uint64) error {
			r.Blocks++
			return nil
		})
		if err != nil {
			return err
		}
	}
	start := time.Now()
	err = store.Finalize()
	r.FinalizeSeconds = time.Since(start).Seconds()
	return err
}

// checkedSections hashes the blocks of the CARv2 at OUT, if that was asked for:
// its header need not be there.
func (r *benchRun) checkedSections() error {
	if !r.verifies {
		return nil
	}
	file, err := os.Open(r.out)
	if err != nil {
		return err
	}
	defer file.Close()
	const start = car.PragmaSize + car.HeaderSize
	reader, err := car.NewBlockReader(io.NewSectionReader(file, start, int64(r.Bytes)-start))
	if err != nil {
		return err
	}
	return visitBlocks(reader, func(cid.Cid, []byte) error { return nil })
}
