#!/usr/bin/env node
// Runs the "pack" command of ipfs-car, of the version that is asked for, on
// several paths in one process; each prints its root.
//
// usage: node ipfs-car.mjs 2|3 OUT [--no-wrap] [--hidden] PATH...
//
// OUT is written anew for each path.

const [version, output, ...rest] = process.argv.slice(2)
const { default: pack } = await import(new URL(`./node_modules/ipfs-car-${version}/cmd/pack.js`, import.meta.url))
const wrap = !rest.includes('--no-wrap')
const hidden = rest.includes('--hidden')
for (const path of rest.filter(word => !word.startsWith('--'))) {
  await pack(path, { _: [], wrap, hidden, output })
}
