// Command peer runs go-car, the reference library for CAR files, as a command
// line program, so that carv2's tests and benchmarks have another
// implementation to compare with.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

const usage = `usage: peer COMMAND [FLAGS] ARGUMENTS   (flags may stand anywhere after COMMAND)

Reading
  inspect [--full] FILE         statistics, in the text form of "car inspect"
  verify FILE                   the checks of "car verify"; silent when all hold
  list [--null-padding] FILE    CID of every block, hash-verified, one a line
  root FILE                     roots, one a line
  blocks [--null-padding] FILE  one JSON object a block:
                                {"cid","offset","sourceOffset","size","sha256"}
  get-block FILE CID            data of one block to stdout
  debug FILE                    the text form of "car debug"
  decode-blocks                 for each "CODEC HEX" read from stdin, one line:
                                "error", or "ok LINKS HEX": its CIDs in hex, and
                                what the value encodes to
  answers                       for each "KIND HEX" read from stdin, at once, one line:
                                "error", "panic" or "ok ...": what Go reads in it;
                                kinds: varint, cid, cid-text, car, v2, index,
                                selector, record, and the codecs of decode-blocks
  get-all [STORE FLAGS] FILE    for each CID read from stdin, one line:
                                "CID SHA256", "CID missing" or "CID error TEXT"
  select [--once] [--skip-missing] FILE
                                for each "ROOT SELECTOR" read from stdin, one
                                JSON object: {"loaded":[CID...],"error"}

Converting
  index-create [--codec NAME] [--null-padding] IN OUT
                                detached index, identity CIDs left out
  index [--codec NAME|none] IN OUT
                                rewrite as CARv2; its index has identity CIDs
  detach-index IN OUT           copy the stored index out
  detach-index-list INDEX       "MULTIHASH-HEX OFFSET" of a detached index
  wrap IN OUT                   CARv1 to CARv2, with index
  unwrap IN OUT                 CARv2 to CARv1

Writing, through the read-write blockstore
  put [STORE FLAGS] SRC OUT     new file with the roots and blocks of SRC
  resume [STORE FLAGS] [--skip N] SRC OUT
                                reopen OUT, then put SRC's blocks after the
                                first N (all of them when not given)

  Blocks of SRC are not hash-verified. STORE FLAGS:
    --v1  --codec NAME  --data-padding N  --index-padding N  --identity
    --whole-cids  --duplicates  --null-padding
    --count N        put at most N blocks
    --no-finalize    leave the file as it is after the last put

Importing
  unixfs-import [--profile NAME] [--wrap] [--hidden] [--chunk-size N]
      [--file-links N] [--car OUT] PATH...
                                root CIDs of files or folders, by boxo's importer
                                for unixfs-v1-2025, unixfs-v0-2015,
                                kubo-legacy-v1 and lotus; for go-car by
                                go-unixfsnode's, which packs into OUT if given

Measuring
  version                       {"go","go-car"}: what this program was built with
  bench OP [STORE FLAGS] [--bare] [--verify] [--sync] FILE [OUT]
                                run OP once and print one JSON object:
                                {"op","seconds","blocks","bytes","peak_rss_kib",
                                "start_rss_kib"}
    iterate           read every block, trusted; through a 64 KiB buffer, or
                      with --bare straight from the file, as the library does
                      of itself
    iterate-verified  the same, hash-verified
    inspect           statistics without reading data, of the memory-mapped
                      file, or with --bare of the file, as "car inspect" does
    inspect-full      statistics, hash-verified
    verify            the checks of "car verify"
    index             generate an index from the memory-mapped file, go-car's
                      fastest way; written to OUT if given
    index-file        the same with GenerateIndexFromFile, unbuffered reads
    wrap, unwrap      FILE to OUT
    open              open the read-only blockstore and get FILE's first block;
                      OpenReadOnly, which maps the file, or with --bare
                      NewReadOnly on an *os.File, which reads it by position
    get               random gets of sampled keys (--count, default 100000), of
                      either store
    put               create OUT, put FILE's first blocks (--count; all if not
                      given) and finalize; reading FILE is not timed
    write             the same with the writer of go-car's storage package
    walk              load what the first root leads to, each block once, out of
                      either store
    verify-deep       the checks of "car verify", then walk
    get-dag           what the first root leads to, to OUT, by the selective writer
    resume            reopen the unfinalized OUT with FILE's roots, timed, then
                      finalize ("finalize_seconds" in the output)
  --verify hashes each block that is got, put or walked to, and compares, which
  go-car does not; --sync makes OUT durable in the end, which it does not either.
  "bytes" is block data handled (iterate, get, put), else the size of FILE
  (resume: of OUT). "blocks" is 0 where the operation does not count them.
  Peak memory is that after the clock's start. It counts the pages of a mapped
  file (inspect*, index, open, get, walk).
`

var errUsage = errors.New("wrong arguments; see peer help")

var commands = map[string]func(args []string, out io.Writer) error{
	"inspect":           inspect,
	"verify":            verify,
	"list":              list,
	"root":              root,
	"answers":           answers,
	"blocks":            describeBlocks,
	"get-block":         getBlock,
	"get-all":           getAll,
	"index-create":      indexCreate,
	"index":             indexRewrite,
	"debug":             debugText,
	"decode-blocks":     decodeBlocks,
	"detach-index":      detachIndex,
	"detach-index-list": detachIndexList,
	"wrap":              wrap,
	"unwrap":            unwrap,
	"put":               put,
	"select":            selectBlocks,
	"resume":            resume,
	"unixfs-import":     unixfsImport,
	"version":           version,
	"bench":             bench,
}

func main() {
	if len(os.Args) < 2 || os.Args[1] == "help" || os.Args[1] == "--help" || os.Args[1] == "-h" {
		fmt.Print(usage)
		return
	}
	command, known := commands[os.Args[1]]
	if !known {
		fail(fmt.Errorf("unknown command %q; see peer help", os.Args[1]))
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	err := command(os.Args[2:], out)
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// newFlags makes a flag set that reports errors instead of printing them.
func newFlags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// parse reads flags and positional arguments in any order, and checks that
// there are between least and most positional ones.
func parse(flags *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var positional []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		positional = append(positional, flags.Arg(0))
		args = flags.Args()[1:]
	}
	if len(positional) < least || len(positional) > most {
		return nil, errUsage
	}
	return positional, nil
}
