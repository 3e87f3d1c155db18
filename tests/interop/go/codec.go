package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	carv2 "github.com/ipld/go-car/v2"
	dagpb "github.com/ipld/go-codec-dagpb"
	"github.com/ipld/go-ipld-prime"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/cbor"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	plainjson "github.com/ipld/go-ipld-prime/codec/json"
	"github.com/ipld/go-ipld-prime/codec/raw"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multicodec"
	"github.com/polydawn/refmt/json"
)

type coder struct {
	decode ipld.Decoder
	encode ipld.Encoder
}

var coders = map[string]coder{
	"raw":      {raw.Decode, raw.Encode},
	"dag-pb":   {dagpb.Decode, dagpb.Encode},
	"dag-cbor": {dagcbor.Decode, dagcbor.Encode},
	"dag-json": {dagjson.Decode, dagjson.Encode},
	"cbor":     {cbor.Decode, cbor.Encode},
	"json":     {plainjson.Decode, plainjson.Encode},
}

// decodeBlocks reads lines "CODEC HEX" and says of each, on a line, "error" or
// "ok LINKS DATA": the CIDs in hex with commas between, "-" for none, and what
// the value encodes to.
func decodeBlocks(args []string, out io.Writer) error {
	if _, err := parse(newFlags("decode-blocks"), args, 0, 0); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		data, err := hex.DecodeString(text)
		if err != nil {
			return err
		}
		node, err := decodeBlock(name, data)
		if err != nil {
			fmt.Fprintln(out, "error")
			continue
		}
		var found []string
		collectLinks(node, &found)
		again := new(bytes.Buffer)
		if err := coders[name].encode(node, again); err != nil {
			again.Reset()
		}
		fmt.Fprintf(out, "ok %s %x\n", orDash(strings.Join(found, ",")), again.Bytes())
	}
	return lines.Err()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func decodeBlock(name string, data []byte) (datamodel.Node, error) {
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := coders[name].decode(builder, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	return builder.Build(), nil
}

func collectLinks(node datamodel.Node, found *[]string) {
	switch node.Kind() {
	case datamodel.Kind_Link:
		link, _ := node.AsLink()
		*found = append(*found, hex.EncodeToString(link.(cidlink.Link).Cid.Bytes()))
	case datamodel.Kind_Map:
		for entries := node.MapIterator(); !entries.Done(); {
			_, value, _ := entries.Next()
			collectLinks(value, found)
		}
	case datamodel.Kind_List:
		for items := node.ListIterator(); !items.Done(); {
			_, value, _ := items.Next()
			collectLinks(value, found)
		}
	}
}

// debugText writes FILE in the text form of "car debug".
func debugText(args []string, out io.Writer) error {
	names, err := parse(newFlags("debug"), args, 1, 1)
	if err != nil {
		return err
	}
	file, err := os.Open(names[0])
	if err != nil {
		return err
	}
	defer file.Close()
	blocks, err := carv2.NewBlockReader(file)
	if err != nil {
		return err
	}
	flag := map[uint64]string{2: "--v2 "}[blocks.Version]
	fmt.Fprintf(out, "car compile %s%s\n", flag, names[0])
	for _, root := range blocks.Roots {
		fmt.Fprintf(out, "root %s\n", root)
	}
	for {
		block, err := blocks.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		node, err := decodeBlock(multicodec.Code(block.Cid().Prefix().Codec).String(), block.RawData())
		if err != nil {
			return err
		}
		mode, content, err := debugContent(node)
		if err != nil {
			return err
		}
		note, count := "", bytes.Count(content, []byte("\n"))
		if !bytes.HasSuffix(content, []byte("\n")) {
			note = " (no-end-cr)"
		}
		name := block.Cid().String()
		fmt.Fprintf(out, "--- %s\n+++ %s%s %s\n@@ -0,%d +0,%d @@\n%s\n", name, mode, note, name, count, count, content)
	}
}

func debugContent(node datamodel.Node) (string, []byte, error) {
	if node.Kind() == datamodel.Kind_Bytes {
		data, err := node.AsBytes()
		control := "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x10\x11\x12\x13\x14\x16\x17\x18\x19\x1c\x1d\x1e\x1f"
		if utf8.Valid(data) && !bytes.ContainsAny(data, control) && !bytes.Contains(data, []byte("\n--- ")) {
			return "raw", data, err
		}
	}
	text := new(bytes.Buffer)
	sink := json.NewEncoder(text, json.EncodeOptions{Line: []byte("\n"), Indent: []byte("\t")})
	err := dagjson.Marshal(node, sink, dagjson.EncodeOptions{
		EncodeLinks: true, EncodeBytes: true, MapSortMode: codec.MapSortMode_Lexical,
	})
	return "dag-json", text.Bytes(), err
}
