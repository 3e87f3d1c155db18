package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// openPayload gives the CARv1 payload of either version as a section of the
// file, which the caller closes.
func openPayload(path string) (*os.File, *io.SectionReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	reader, err := car.NewReader(file)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	if reader.Version == 2 {
		return file, io.NewSectionReader(file, int64(reader.Header.DataOffset), int64(reader.Header.DataSize)), nil
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, io.NewSectionReader(file, 0, info.Size()), nil
}

// writeFile creates path and has write fill it.
func writeFile(path string, write func(*os.File) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = write(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

func indexCreate(args []string, _ io.Writer) error {
	flags := newFlags("index-create")
	codec := flags.String("codec", multicodec.CarMultihashIndexSorted.String(), "index codec")
	nullPadding := flags.Bool("null-padding", false, "zero-length section ends the payload")
	paths, err := parse(flags, args, 2, 2)
	if err != nil {
		return err
	}
	code, err := codecNamed(*codec)
	if err != nil {
		return err
	}
	file, payload, err := openPayload(paths[0])
	if err != nil {
		return err
	}
	defer file.Close()
	idx, err := car.GenerateIndex(payload, car.UseIndexCodec(code), car.ZeroLengthSectionAsEOF(*nullPadding))
	if err != nil {
		return err
	}
	return writeFile(paths[1], func(out *os.File) error {
		_, err := index.WriteTo(idx, out)
		return err
	})
}

// indexRewrite follows "car index" in that identity CIDs are indexed and the
// fully-indexed bit stays unset. Unlike it, it refuses a null-padded payload,
// of which "car index" makes a broken file.
func indexRewrite(args []string, _ io.Writer) error {
	flags := newFlags("index")
	codec := flags.String("codec", multicodec.CarMultihashIndexSorted.String(), "index codec, or none")
	paths, err := parse(flags, args, 2, 2)
	if err != nil {
		return err
	}
	file, payload, err := openPayload(paths[0])
	if err != nil {
		return err
	}
	defer file.Close()
	header := car.NewHeader(uint64(payload.Size()))

	var idx index.Index
	if *codec == "none" {
		header.IndexOffset = 0
	} else {
		code, err := codecNamed(*codec)
		if err != nil {
			return err
		}
		idx, err = car.GenerateIndex(payload, car.UseIndexCodec(code),
			car.StoreIdentityCIDs(true), car.MaxIndexCidSize(math.MaxUint64))
		if err != nil {
			return err
		}
		if _, err := payload.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}

	return writeFile(paths[1], func(out *os.File) error {
		if _, err := out.Write(car.Pragma); err != nil {
			return err
		}
		if _, err := header.WriteTo(out); err != nil {
			return err
		}
		if _, err := io.CopyN(out, payload, payload.Size()); err != nil {
			return err
		}
		if idx == nil {
			return nil
		}
		_, err := index.WriteTo(idx, out)
		return err
	})
}

func detachIndex(args []string, _ io.Writer) error {
	paths, err := parse(newFlags("detach-index"), args, 2, 2)
	if err != nil {
		return err
	}
	reader, err := car.OpenReader(paths[0])
	if err != nil {
		return err
	}
	defer reader.Close()
	if reader.Version != 2 || !reader.Header.HasIndex() {
		return errors.New("no index present")
	}
	stored, err := reader.IndexReader()
	if err != nil {
		return err
	}
	return writeFile(paths[1], func(out *os.File) error {
		_, err := io.Copy(out, stored)
		return err
	})
}

func detachIndexList(args []string, out io.Writer) error {
	paths, err := parse(newFlags("detach-index-list"), args, 1, 1)
	if err != nil {
		return err
	}
	file, err := os.Open(paths[0])
	if err != nil {
		return err
	}
	defer file.Close()
	idx, err := index.ReadFrom(file)
	if err != nil {
		return err
	}
	iterable, ok := idx.(index.IterableIndex)
	if !ok {
		return fmt.Errorf("index of codec %s is not iterable", idx.Codec())
	}
	return iterable.ForEach(func(hash multihash.Multihash, offset uint64) error {
		_, err := fmt.Fprintln(out, hash.HexString(), offset)
		return err
	})
}

func wrap(args []string, _ io.Writer) error {
	paths, err := parse(newFlags("wrap"), args, 2, 2)
	if err != nil {
		return err
	}
	return car.WrapV1File(paths[0], paths[1])
}

func unwrap(args []string, _ io.Writer) error {
	paths, err := parse(newFlags("unwrap"), args, 2, 2)
	if err != nil {
		return err
	}
	return car.ExtractV1File(paths[0], paths[1])
}
