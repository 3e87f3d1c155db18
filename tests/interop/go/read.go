package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/blockstore"
)

// openBlocks starts a streaming read of a CAR file. The caller closes the file.
func openBlocks(path string, options ...car.Option) (*os.File, *car.BlockReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	reader, err := car.NewBlockReader(bufio.NewReaderSize(file, 1<<16), options...)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, reader, nil
}

// openBlocksBare is the same without the buffer. The library adds none, and
// reads each varint byte by byte: this is what its users get who give it a file.
func openBlocksBare(path string, options ...car.Option) (*os.File, *car.BlockReader, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	reader, err := car.NewBlockReader(file, options...)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, reader, nil
}

var errStop = errors.New("stop")

// eachBlock calls visit for every block, until visit returns errStop, and
// returns the roots.
func eachBlock(path string, visit func(cid.Cid, []byte) error, options ...car.Option) ([]cid.Cid, error) {
	file, reader, err := openBlocks(path, options...)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return reader.Roots, visitBlocks(reader, visit)
}

// visitBlocks calls visit for what is left to read, until visit returns errStop.
func visitBlocks(reader *car.BlockReader, visit func(cid.Cid, []byte) error) error {
	for {
		block, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(block.Cid(), block.RawData()); err == errStop {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func list(args []string, out io.Writer) error {
	flags := newFlags("list")
	nullPadding := flags.Bool("null-padding", false, "zero-length section ends the payload")
	paths, err := parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	_, err = eachBlock(paths[0], func(key cid.Cid, _ []byte) error {
		_, err := fmt.Fprintln(out, key)
		return err
	}, car.ZeroLengthSectionAsEOF(*nullPadding))
	return err
}

func root(args []string, out io.Writer) error {
	paths, err := parse(newFlags("root"), args, 1, 1)
	if err != nil {
		return err
	}
	file, reader, err := openBlocks(paths[0])
	if err != nil {
		return err
	}
	defer file.Close()
	for _, key := range reader.Roots {
		fmt.Fprintln(out, key)
	}
	return nil
}

// describeBlocks reads the file twice, side by side: SkipNext knows the places
// and Next has the data.
func describeBlocks(args []string, out io.Writer) error {
	flags := newFlags("blocks")
	nullPadding := flags.Bool("null-padding", false, "zero-length section ends the payload")
	paths, err := parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	file, places, err := openBlocks(paths[0], car.ZeroLengthSectionAsEOF(*nullPadding))
	if err != nil {
		return err
	}
	defer file.Close()
	lines := json.NewEncoder(out)
	_, err = eachBlock(paths[0], func(key cid.Cid, data []byte) error {
		place, err := places.SkipNext()
		if err != nil {
			return err
		}
		if !place.Cid.Equals(key) || place.Size != uint64(len(data)) {
			return fmt.Errorf("Next read %s (%d bytes), SkipNext %s (%d bytes)",
				key, len(data), place.Cid, place.Size)
		}
		return lines.Encode(struct {
			Cid          string `json:"cid"`
			Offset       uint64 `json:"offset"`
			SourceOffset uint64 `json:"sourceOffset"`
			Size         uint64 `json:"size"`
			Sha256       string `json:"sha256"`
		}{key.String(), place.Offset, place.SourceOffset, place.Size, sha256Hex(data)})
	}, car.ZeroLengthSectionAsEOF(*nullPadding))
	return err
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func getBlock(args []string, out io.Writer) error {
	arguments, err := parse(newFlags("get-block"), args, 2, 2)
	if err != nil {
		return err
	}
	key, err := cid.Parse(arguments[1])
	if err != nil {
		return err
	}
	store, err := blockstore.OpenReadOnly(arguments[0])
	if err != nil {
		return err
	}
	defer store.Close()
	block, err := store.Get(context.Background(), key)
	if err != nil {
		return err
	}
	_, err = out.Write(block.RawData())
	return err
}

func getAll(args []string, out io.Writer) error {
	flags := newFlags("get-all")
	var settings storeFlags
	settings.register(flags)
	paths, err := parse(flags, args, 1, 1)
	if err != nil {
		return err
	}
	options, err := settings.options()
	if err != nil {
		return err
	}
	store, err := blockstore.OpenReadOnly(paths[0], options...)
	if err != nil {
		return err
	}
	defer store.Close()

	failures := 0
	keys := bufio.NewScanner(os.Stdin)
	keys.Buffer(nil, 1<<20)
	for keys.Scan() {
		text := strings.TrimSpace(keys.Text())
		if text == "" {
			continue
		}
		key, err := cid.Decode(text)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		block, err := store.Get(context.Background(), key)
		switch {
		case err == nil:
			fmt.Fprintln(out, text, sha256Hex(block.RawData()))
		case format.IsNotFound(err):
			fmt.Fprintln(out, text, "missing")
		default:
			fmt.Fprintln(out, text, "error", err)
			failures++
		}
	}
	if failures > 0 {
		return fmt.Errorf("%d blocks could not be read", failures)
	}
	return keys.Err()
}
