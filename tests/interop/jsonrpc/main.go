// Command peer calls a DAG store's JSON-RPC with Lotus' client library, as lotus-miner does.
//
// Usage: peer URL TOKEN-FILE
//
// Each line of standard input is a call, such as `recover KEY` or `doctor {"Repair":true}`; it prints a line of JSON for each call, and for
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

// The types of carv2's own methods.

type stat struct {
	Shards         int64
	ByState        map[string]int64
	Blocks         int64
	Multihashes    int64
	IndexBytes     int64
	LocalCopies    int64
	LocalCopyBytes int64
}

type doctorParams struct {
	Repair     bool
	Thorough   bool
	SkipMounts bool
}

type finding struct {
	Key     string
	Problem string
	Detail  string
	Remedy  string
	Mended  bool
	Error   string
	Done    bool
}

type exportParams struct {
	LocalCopies bool
}

// record is what the Go dagstore keeps of a shard, and whether there is an index of it.
type record struct {
	Key       string `json:"k"`
	URL       string `json:"u"`
	LocalCopy string `json:"t"`
	State     uint8  `json:"s"`
	Lazy      bool   `json:"l"`
	Error     string `json:"e"`
	HasIndex  bool
}

type records struct {
	Records []record
	Done    bool
	Error   string
}

type foreign struct {
	Line  int
	Key   string
	URL   string
	State uint8
	Error string
}

type importParams struct {
	Records []foreign
}

type imported struct {
	Shards       int64
	Indexes      int64
	Known        int64
	Refused      []string
	RefusedCount int64
}

type deal struct {
	PieceCID    string
	State       string
	ProposalCID string
	Source      string
}

type migrateParams struct {
	Deals  []deal
	Again  bool
	Before int64
	More   bool
}

type migrated struct {
	DidWork      bool
	Deals        int64
	Registered   int64
	Known        int64
	NotReady     int64
	Invalid      []string
	InvalidCount int64
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

	DagstoreStat     func(ctx context.Context) (stat, error)
	DagstoreConfig   func(ctx context.Context) (map[string]interface{}, error)
	DagstoreDoctor   func(ctx context.Context, params doctorParams) (<-chan finding, error)
	DagstoreExportGo func(ctx context.Context, params exportParams) (<-chan records, error)
	DagstoreImportGo func(ctx context.Context, params importParams) (imported, error)
	DagstoreMigrate  func(ctx context.Context, params migrateParams) (migrated, error)
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
	case "stat":
		result, err = node.DagstoreStat(ctx)
	case "config":
		result, err = node.DagstoreConfig(ctx)
	case "doctor":
		var params doctorParams
		if err = decode(args[0], &params); err == nil {
			return stream(node.DagstoreDoctor, params, "")
		}
	case "export":
		var params exportParams
		if err = decode(args[0], &params); err == nil {
			return stream(node.DagstoreExportGo, params, "")
		}
	case "import":
		var params importParams
		if err = decode(args[0], &params); err == nil {
			result, err = node.DagstoreImportGo(ctx, params)
		}
	case "migrate":
		var params migrateParams
		if err = decode(args[0], &params); err == nil {
			result, err = node.DagstoreMigrate(ctx, params)
		}
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

// decode reads parameters, JSON without a space; there is none that the method has not.
func decode(text string, params interface{}) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	return decoder.Decode(params)
}

// initializeAll takes the number of shards at once, whether sealed ones too, and after how many events to cancel.
func initializeAll(node *api, args []string) error {
	concurrency, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	return stream(node.DagstoreInitializeAll, initializeAllParams{concurrency, args[1] == "sealed"}, args[2])
}

// stream shows all that a method sends, which is cancelled after so many values, if that is said.
func stream[P, V any](method func(context.Context, P) (<-chan V, error), params P, cancelAfter string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := method(ctx, params)
	if err != nil {
		return err
	}
	show("result", "a stream")
	patience := time.After(time.Minute)
	for count := 0; ; {
		if cancelAfter == strconv.Itoa(count) {
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
