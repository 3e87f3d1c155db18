#!/usr/bin/env node
// Runs the "pack" command of ipfs-car, of the version that is asked for, on
// several paths in one process; each prints its root. Or the "unpack" command
// of version 3.
//
// usage: node ipfs-car.mjs 2|3 OUT [--no-wrap] [--hidden] PATH...
//        node ipfs-car.mjs unpack FOLDER CAR
//
// OUT is written anew for each path.

const [version, output, ...rest] = process.argv.slice(2)
if (version === 'unpack') {
  const { default: unpack } = await import(new URL('./node_modules/ipfs-car-3/cmd/unpack.js', import.meta.url))
  await unpack(rest[0], { output })
  process.exit(0)
}
const { default: pack } = await import(new URL(`./node_modules/ipfs-car-${version}/cmd/pack.js`, import.meta.url))
const wrap = !rest.includes('--no-wrap')
const hidden = rest.includes('--hidden')
for (const path of rest.filter(word => !word.startsWith('--'))) {
  await pack(path, { _: [], wrap, hidden, output })
}
