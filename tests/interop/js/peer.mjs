#!/usr/bin/env node
// Runs @ipld/car, the JavaScript library for CAR files, as a command line
// program, so that carv2's tests and benchmarks have another implementation to
// compare with.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, createWriteStream, existsSync, readFileSync, statSync } from 'node:fs'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CarIndexedReader } from '@ipld/car/indexed-reader'
import { CarIndexer } from '@ipld/car/indexer'
import { CarBlockIterator } from '@ipld/car/iterator'
import { CarWriter } from '@ipld/car/writer'
import { CID } from 'multiformats/cid'

const usage = `usage: node peer.mjs COMMAND ARGUMENTS

  list FILE        CID of every block, one a line
  root FILE        roots, one a line
  blocks FILE      one JSON object a block: {"cid","size","sha256"}
  index FILE       one JSON object a block:
                   {"cid","offset","length","blockOffset","blockLength"}
  write SRC OUT    new CARv1 with the roots and blocks of SRC
  get FILE CID     data of one block to stdout
  bench OP FILE [OUT] [--count N]
                   run OP once and print one JSON object:
                   {"op","seconds","blocks","bytes","peak_rss_kib"}
    iterate           read every block (the library verifies no hash)
    iterate-verified  the same, with each sha2-256 checked by node:crypto
    index             find the place of every block (nothing is kept)
    write             load FILE's first blocks (--count, default 500000), not
                      timed, then write them to OUT, or nowhere, timed
  "bytes" is block data handled (index: the size of FILE). Peak memory counts
  the blocks loaded for write.
`

const IDENTITY = 0x00
const SHA2_256 = 0x12

const openFile = (path) => createReadStream(path)
const openBlocks = (path) => CarBlockIterator.fromIterable(openFile(path))
const sha256 = (bytes) => createHash('sha256').update(bytes).digest()

// Lines go out in large pieces, and no faster than they are read.
let pending = ''
async function print (line) {
  pending += line + '\n'
  if (pending.length > 1 << 16) await flush()
}
async function flush () {
  const text = pending
  pending = ''
  if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain')
}

async function list (path) {
  for await (const { cid } of await openBlocks(path)) await print(cid.toString())
}

async function root (path) {
  const reader = await openBlocks(path)
  for (const cid of await reader.getRoots()) await print(cid.toString())
}

async function blocks (path) {
  for await (const { cid, bytes } of await openBlocks(path)) {
    await print(JSON.stringify({
      cid: cid.toString(),
      size: bytes.length,
      sha256: sha256(bytes).toString('hex')
    }))
  }
}

async function index (path) {
  for await (const entry of await CarIndexer.fromIterable(openFile(path))) {
    const { cid, offset, length, blockOffset, blockLength } = entry
    await print(JSON.stringify({ cid: cid.toString(), offset, length, blockOffset, blockLength }))
  }
}

async function write (source, destination) {
  const reader = await openBlocks(source)
  await writeBlocks(await reader.getRoots(), reader, destination)
}

// Without a destination the bytes are made and dropped.
async function writeBlocks (roots, source, destination) {
  const { writer, out } = CarWriter.create(roots)
  const written = destination === undefined
    ? drain(out)
    : pipeline(Readable.from(out), createWriteStream(destination))
  const put = async () => {
    for await (const block of source) await writer.put(block)
    await writer.close()
  }
  // Together, because a put never ends once the other end has failed.
  await Promise.all([put(), written])
}

async function drain (chunks) {
  // eslint-disable-next-line no-unused-vars
  for await (const _ of chunks);
}

async function get (path, text) {
  const reader = await CarIndexedReader.fromFile(path)
  try {
    const block = await reader.get(CID.parse(text))
    if (block === undefined) throw new Error(`no block ${text}`)
    if (!process.stdout.write(block.bytes)) await once(process.stdout, 'drain')
  } finally {
    await reader.close()
  }
}

function verifyBlock ({ cid, bytes }) {
  const { code, digest } = cid.multihash
  if (code !== IDENTITY && code !== SHA2_256) {
    throw new Error(`${cid}: no check for multihash code 0x${code.toString(16)}`)
  }
  const actual = code === IDENTITY ? bytes : sha256(bytes).subarray(0, digest.length)
  if (Buffer.compare(actual, digest) !== 0) throw new Error(`${cid}: data does not match`)
}

async function iterate (path, timed, check) {
  let count = 0
  let size = 0
  await timed(async () => {
    for await (const block of await openBlocks(path)) {
      if (check !== undefined) check(block)
      count++
      size += block.bytes.length
    }
  })
  return { blocks: count, bytes: size }
}

const operations = {
  iterate: (timed, { path }) => iterate(path, timed),
  'iterate-verified': (timed, { path }) => iterate(path, timed, verifyBlock),
  index: async (timed, { path }) => {
    let count = 0
    await timed(async () => {
      // eslint-disable-next-line no-unused-vars
      for await (const _ of await CarIndexer.fromIterable(openFile(path))) count++
    })
    return { blocks: count, bytes: statSync(path).size }
  },
  write: async (timed, { path, out, count = 500_000 }) => {
    const reader = await openBlocks(path)
    const roots = await reader.getRoots()
    const loaded = []
    let size = 0
    for await (const block of reader) {
      if (loaded.length === count) break
      loaded.push(block)
      size += block.bytes.length
    }
    await timed(() => writeBlocks(roots, loaded, out))
    return { blocks: loaded.length, bytes: size }
  }
}

async function bench (...args) {
  const options = {}
  const flag = args.indexOf('--count')
  if (flag !== -1) {
    options.count = Number(args.splice(flag, 2)[1])
    if (!Number.isSafeInteger(options.count)) throw new Error('--count needs a number')
  }
  const [op, path, out] = args
  if (!Object.hasOwn(operations, op)) throw new Error(`unknown operation ${op}`)
  if (path === undefined || args.length > 3) throw new Error('wrong arguments')
  let seconds, peak
  const result = await operations[op](async (work) => {
    const start = process.hrtime.bigint()
    await work()
    seconds = Number(process.hrtime.bigint() - start) / 1e9
    peak = peakRssKib()
  }, { path, out, ...options })
  await print(JSON.stringify({ op, seconds, ...result, peak_rss_kib: peak }))
}

// resourceUsage is asked only where the kernel has no VmHWM: on Linux its
// figure starts at that of the process which started this one.
function peakRssKib () {
  const status = '/proc/self/status'
  const found = existsSync(status) && /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(status, 'utf8'))
  return found ? Number(found[1]) : process.resourceUsage().maxRSS
}

const commands = { list, root, blocks, index, write, get }

async function main ([name, ...args]) {
  if (name === undefined || ['help', '--help', '-h'].includes(name)) {
    process.stdout.write(usage)
    return
  }
  if (name === 'bench') return bench(...args)
  if (!Object.hasOwn(commands, name)) throw new Error(`unknown command ${name}`)
  if (args.length !== commands[name].length) throw new Error('wrong arguments')
  return commands[name](...args)
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 1
} finally {
  await flush()
}
