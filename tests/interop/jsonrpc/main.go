// Command peer calls a DAG store's JSON-RPC with Lotus' client library, as lotus-miner does.
//
// Usage: peer URL TOKEN-FILE
//
// Each line of standard input is a call, such as `recover KEY`; it prints a line of JSON for each call, and for
// each event of a stream, before it reads the next: {"result": …}, {"event": …}, {"closed": …} or {"error": "…"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/filecoin-project/go-jsonrpc"
	"github.com/ipfs/go-cid"
)

// The types and methods as Lotus' and Boost's API have them.

type shardInfo struct {
	Key   string
	State string
	Error string
}

type shardResult struct {
	Key     string
	Success bool
	Error   string
}

type initializeAllParams struct {
	MaxConcurrency int
	IncludeSealed  bool
}

type initializeAllEvent struct {
	Key     string
	Event   string // "start", "end"
	Success bool
	Error   string
	Total   int
	Current int
}

type api struct {
	DagstoreListShards      func(ctx context.Context) ([]shardInfo, error)
	DagstoreInitializeShard func(ctx context.Context, key string) error
	DagstoreRecoverShard    func(ctx context.Context, key string) error
	DagstoreInitializeAll   func(ctx context.Context, params initializeAllParams) (<-chan initializeAllEvent, error)
	DagstoreGC              func(ctx context.Context) ([]shardResult, error)
	DagstoreLookupPieces    func(ctx context.Context, c cid.Cid) ([]shardInfo, error)
	DagstorePieceIndexSize  func(ctx context.Context) (int64, error)
	DagstoreRegisterShard   func(ctx context.Context, key string) error
	DagstoreDestroyShard    func(ctx context.Context, key string) error
	DagstoreNoSuchMethod    func(ctx context.Context) error
}

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url, tokenFile string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	header := http.Header{}
	if text := strings.TrimSpace(string(token)); text != "" {
		header.Set("Authorization", "Bearer "+text)
	}
	var node api
	closer, err := jsonrpc.NewMergeClient(context.Background(), url, "Filecoin", []interface{}{&node}, header)
	if err != nil {
		return err
	}
	defer closer()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if err := call(&node, words[0], append(words[1:], "", "", "")); err != nil {
			show("error", err.Error())
		}
	}
	return lines.Err()
}

func show(name string, value interface{}) {
	text, err := json.Marshal(map[string]interface{}{name: value})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

func call(node *api, method string, args []string) error {
	ctx := context.Background()
	var result interface{}
	var err error
	switch method {
	case "list":
		result, err = node.DagstoreListShards(ctx)
	case "initialize":
		err = node.DagstoreInitializeShard(ctx, args[0])
	case "recover":
		err = node.DagstoreRecoverShard(ctx, args[0])
	case "initialize-all":
		return initializeAll(node, args)
	case "gc":
		result, err = node.DagstoreGC(ctx)
	case "lookup":
		var c cid.Cid
		if c, err = cid.Decode(args[0]); err == nil {
			result, err = node.DagstoreLookupPieces(ctx, c)
		}
	case "index-size":
		result, err = node.DagstorePieceIndexSize(ctx)
	case "register":
		err = node.DagstoreRegisterShard(ctx, args[0])
	case "destroy":
		err = node.DagstoreDestroyShard(ctx, args[0])
	case "nothing":
		err = node.DagstoreNoSuchMethod(ctx)
	default:
		err = fmt.Errorf("%s: no such call", method)
	}
	if err == nil {
		show("result", result)
	}
	return err
}

// initializeAll takes the number of shards at once, whether sealed ones too, and after how many events to cancel.
func initializeAll(node *api, args []string) error {
	concurrency, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := node.DagstoreInitializeAll(ctx, initializeAllParams{concurrency, args[1] == "sealed"})
	if err != nil {
		return err
	}
	show("result", "a stream")
	patience := time.After(time.Minute)
	for count := 0; ; {
		if args[2] == strconv.Itoa(count) {
			cancel()
		}
		select {
		case event, isOpen := <-events:
			if !isOpen {
				show("closed", count)
				return nil
			}
			show("event", event)
			count++
		case <-patience:
			return fmt.Errorf("the stream did not end in a minute")
		}
	}
}
