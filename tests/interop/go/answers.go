package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	pb "github.com/ipfs/boxo/filestore/pb"
	"github.com/ipfs/go-cid"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/index"
	selectorparse "github.com/ipld/go-ipld-prime/traversal/selector/parse"
	"github.com/multiformats/go-multihash"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"
)

// readers are what answers knows: each reads data and says what is in it.
var readers = map[string]func(data []byte) (string, error){
	"varint":   answerVarint,
	"cid":      answerCid,
	"cid-text": answerCidText,
	"car":      answerCar,
	"v2":       answerV2,
	"index":    answerIndex,
	"selector": answerSelector,
	"record":   answerRecord,
}

// answers reads lines "KIND HEX" and says on one line each what Go makes of the
// bytes: "error", "panic", or "ok ...". An answer is sent as soon as no question
// is waiting, so that a fuzzer can go on asking one process.
func answers(args []string, sink io.Writer) error {
	if _, err := parse(newFlags("answers"), args, 0, 0); err != nil {
		return err
	}
	out := sink.(*bufio.Writer)
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		kind, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, err := hex.DecodeString(text)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, answer(kind, data))
		if lines.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func answer(kind string, data []byte) (said string) {
	defer func() {
		if cause := recover(); cause != nil {
			said = "panic"
		}
	}()
	read, known := readers[kind]
	if !known {
		if _, known = coders[kind]; !known {
			return "unknown"
		}
		read = func(data []byte) (string, error) { return answerBlock(kind, data) }
	}
	found, err := read(data)
	if err != nil {
		return "error"
	}
	return "ok " + found
}

func answerVarint(data []byte) (string, error) {
	value, size, err := varint.FromUvarint(data)
	return fmt.Sprint(value, " ", size), err
}

func answerCid(data []byte) (string, error) {
	size, _, err := cid.CidFromBytes(data)
	return fmt.Sprint(size), err
}

func answerCidText(data []byte) (string, error) {
	key, err := cid.Decode(string(data))
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(key.Bytes()), nil
}

// answerCar reads headers and blocks, whose hashes it believes.
func answerCar(data []byte) (string, error) {
	reader, err := car.NewBlockReader(bytes.NewReader(data), car.WithTrustedCAR(true))
	if err != nil {
		return "", err
	}
	var roots, blocks []string
	for _, root := range reader.Roots {
		roots = append(roots, hex.EncodeToString(root.Bytes()))
	}
	err = visitBlocks(reader, func(key cid.Cid, data []byte) error {
		sum := sha256.Sum256(data)
		blocks = append(blocks, fmt.Sprintf("%x:%x", key.Bytes(), sum[:4]))
		return nil
	})
	return fmt.Sprint(reader.Version, " ", orDash(strings.Join(roots, ",")), " ",
		orDash(strings.Join(blocks, ","))), err
}

func answerV2(data []byte) (string, error) {
	var header car.Header
	if _, err := header.ReadFrom(bytes.NewReader(data)); err != nil {
		return "", err
	}
	return fmt.Sprint(header.DataOffset, " ", header.DataSize, " ", header.IndexOffset), nil
}

// answerIndex lists the records where the format can be listed.
func answerIndex(data []byte) (string, error) {
	found, err := index.ReadFrom(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	listed, can := found.(index.IterableIndex)
	if !can {
		return "?", nil
	}
	var records []string
	err = listed.ForEach(func(key multihash.Multihash, offset uint64) error {
		records = append(records, fmt.Sprintf("%x:%d", []byte(key), offset))
		return nil
	})
	return orDash(strings.Join(records, ",")), err
}

func answerBlock(codec string, data []byte) (string, error) {
	node, err := decodeBlock(codec, data)
	if err != nil {
		return "", err
	}
	var found []string
	collectLinks(node, &found)
	return orDash(strings.Join(found, ",")), nil
}

func answerSelector(data []byte) (string, error) {
	_, err := selectorparse.ParseAndCompileJSONSelector(string(data))
	return "", err
}

func answerRecord(data []byte) (string, error) {
	var record pb.DataObj
	if err := proto.Unmarshal(data, &record); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x %d %d", record.GetFilePath(), record.GetOffset(), record.GetSize()), nil
}
