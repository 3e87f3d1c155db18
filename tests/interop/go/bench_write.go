package main

import (
	"context"
	"os"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
	"github.com/ipld/go-car/v2/storage"
)

const (
	batchBlocks = 4096
	batchBytes  = 8 << 20
)

// sink is what blocks are written to: a store, or a writer.
type sink interface {
	open(roots []cid.Cid) error
	put(block blocks.Block) error
	finalize() error
}

type storeSink struct {
	run   *benchRun
	store *blockstore.ReadWrite
}

func (s *storeSink) open(roots []cid.Cid) (err error) {
	s.store, err = blockstore.OpenReadWrite(s.run.out, roots, s.run.options...)
	return err
}

func (s *storeSink) put(block blocks.Block) error {
	return s.store.Put(context.Background(), block)
}

func (s *storeSink) finalize() error { return s.store.Finalize() }

// storageSink is go-car's writer: its storage package on a file.
type storageSink struct {
	run    *benchRun
	file   *os.File
	writer storage.WritableCar
}

func (s *storageSink) open(roots []cid.Cid) (err error) {
	if s.file, err = os.Create(s.run.out); err != nil {
		return err
	}
	s.writer, err = storage.NewWritable(s.file, roots, s.run.options...)
	return err
}

func (s *storageSink) put(block blocks.Block) error {
	return s.writer.Put(context.Background(), block.Cid().KeyString(), block.RawData())
}

func (s *storageSink) finalize() error {
	if err := s.writer.Finalize(); err != nil {
		return err
	}
	return s.file.Close()
}

func (r *benchRun) put() error { return r.fill(&storeSink{run: r}) }

func (r *benchRun) write() error { return r.fill(&storageSink{run: r}) }

// fill writes FILE's blocks. They are read in batches while the clock stands
// still, so that neither their reading is in the time nor all of them in the
// memory.
func (r *benchRun) fill(into sink) error {
	if err := r.needOut(); err != nil {
		return err
	}
	if err := requireNew(r.out); err != nil {
		return err
	}
	file, reader, err := openBlocks(r.path, car.WithTrustedCAR(true))
	if err != nil {
		return err
	}
	defer file.Close()
	r.mark()
	if err := r.clocked(func() error { return into.open(reader.Roots) }); err != nil {
		return err
	}
	r.Bytes = 0
	left := r.settings.count
	batch := make([]blocks.Block, 0, batchBlocks)
	for done := false; !done; {
		batch = batch[:0]
		for size := 0; len(batch) < batchBlocks && size < batchBytes && left != 0; left-- {
			block, err := reader.Next()
			if err != nil {
				break
			}
			size += len(block.RawData())
			batch = append(batch, block)
		}
		done = len(batch) == 0
		if err := r.clocked(func() error { return r.putAll(into, batch) }); err != nil {
			return err
		}
	}
	err = r.clocked(func() error {
		if err := into.finalize(); err != nil {
			return err
		}
		return r.synced()
	})
	r.PeakRssKib = peakRssKib()
	return err
}

func (r *benchRun) putAll(into sink, batch []blocks.Block) error {
	for _, block := range batch {
		if err := r.checked(block.Cid(), block.RawData()); err != nil {
			return err
		}
		if err := into.put(block); err != nil {
			return err
		}
		r.Blocks++
		r.Bytes += uint64(len(block.RawData()))
	}
	return nil
}
