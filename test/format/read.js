// Reads files by a description in docs/format and writes what each holds to FILE.txt.
//
//     node read.js FOLDER-OF-DESCRIPTIONS metadata|pack|undo FILE...
'use strict';
const fs = require('fs'), path = require('path'), crypto = require('crypto');
const compiler = require('kaitai-struct-compiler'), yaml = require('yaml'), KaitaiStream = require('kaitai-struct/KaitaiStream');

// compile returns the class that the compiler makes of a description.
async function compile(path) {
  const description = yaml.parse(fs.readFileSync(path, 'utf8'));
  const sources = await compiler.compile('javascript', description, null, false);
  const module = {exports: {}};
  for (const source of Object.values(sources)) {
    new Function('module', 'exports', 'require', source)(module, module.exports, require);
  }
  return Object.values(module.exports)[0];
}

// leaves yields [key, value] of all leaves below a node.
function* leaves(node) {
  for (let i = 0; i < node.nrEntries; i++) {
    if (node.isLeaf) yield [node.keys[i], node.entries[i]];
    else yield* leaves(node.entries[i].child);
  }
}

function printMetadata(metadata, print) {
  const sb = metadata.superblock;
  print('superblock', sb.flags, sb.version, sb.time, sb.transactionId, sb.metadataSnapshot, sb.dataBlockSectors, sb.nrMetadataBlocks);
  for (const [id, {details: d}] of leaves(sb.details)) print('details', id, d.mappedBlocks, d.transactionId, d.creationTime, d.snapshottedTime);
  for (const [id, device] of leaves(sb.devices)) {
    for (const [thin, {mapping: m}] of leaves(device.mappings)) print('mapping', id, thin, m.block, m.time);
  }
  const dataIndex = [...leaves(sb.dataSpaceMap.indexTree)].map(([, value]) => value.index);
  const bitmaps = Math.ceil(sb.metadataSpaceMap.nrBlocks / 16320);
  printCounts('data', sb.dataSpaceMap, dataIndex, print);
  printCounts('metadata', sb.metadataSpaceMap, sb.metadataSpaceMap.index.entries.slice(0, bitmaps), print);
}

function printCounts(name, map, index, print) {
  const overflow = new Map([...leaves(map.overflow)].map(([block, value]) => [block, value.count]));
  print('space map', name, map.nrBlocks, map.nrAllocated);
  for (let block = 0; block < map.nrBlocks; block++) {
    const i = block % 16320, bits = index[Math.floor(block / 16320)].bitmap.counts[i >> 2] >> (i % 4 * 2) & 3;
    const count = (bits & 1) << 1 | bits >> 1;
    if (count) print('count', name, block, count === 3 ? overflow.get(block) : count);
  }
}

// A Maker does the instructions of a record.
class Maker {
  base = 0n;

  run(run) {
    const parts = [];
    for (const i of run.instructions) parts.push(this.instruction(i));
    return Buffer.concat(parts);
  }

  instruction(i) {
    if (i.literal !== undefined) return Buffer.from(i.literal);
    const out = Buffer.alloc(8 * i.count);
    if (i.highParts !== undefined) {
      const high = this.run(i.highParts), low = this.run(i.lowParts);
      for (let at = 0; at < out.length; at += 8) {
        out.writeBigUInt64LE(BigInt.asUintN(64, high.readBigUInt64LE(at) << 24n | low.readBigUInt64LE(at)), at);
      }
      return out;
    }
    const step = i.repeated || i.op;
    for (let at = 0; at < out.length; at += 8) out.writeBigUInt64LE(this.step(step), at);
    return out;
  }

  step(step) {
    const operand = BigInt(step.operand || 0) | BigInt(step.operandHigh || 0) << 32n;
    const change = [0n, BigInt(step.n), operand, BigInt(-step.n), -operand];
    if (step.tag === 0) this.base = operand;
    else if (step.tag < change.length) this.base = BigInt.asUintN(64, this.base + change[step.tag]);
    return this.base;
  }
}

const digest = bytes => crypto.createHash('sha256').update(bytes).digest('hex');

function printPack(pack, print) {
  print('pack', pack.nrBlocks);
  for (const frame of pack.frames) {
    for (const record of frame.records.records) print('block', record.blockNr, digest(new Maker().run(record.content)));
  }
}

function printUndo(undo, print) {
  print('undo', undo.header.version, undo.header.lenDevice, undo.header.indexBlock0, digest(undo.newBlock0));
  undo.blocks.forEach((block, i) => print('block', undo.blockNrs ? undo.blockNrs[i] : i, digest(block)));
}

async function main([folder, kind, ...files]) {
  const Parser = await compile(path.join(folder, 'thin_' + kind + '.ksy'));
  const print = {metadata: printMetadata, pack: printPack, undo: printUndo}[kind];
  for (const file of files) {
    const lines = [], data = fs.readFileSync(file);
    const stream = new KaitaiStream(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
    print(new Parser(stream), (...words) => lines.push(words.join(' ') + '\n'));
    fs.writeFileSync(file + '.txt', lines.join(''));
  }
}

main(process.argv.slice(2)).catch(err => {
  console.error(err);
  process.exit(1);
});
