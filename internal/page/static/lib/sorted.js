// SortedRows are rows in the order of their keys. They are kept in blocks, so that a hundred thousand
// rows need not be sorted, or copied, when one comes or goes.

const most = 512;

export class SortedRows {
  constructor() {
    // blocks has no empty block, and no block with more than most rows.
    this.blocks = [];
    this.size = 0;
  }

  // append adds a row whose key is greater than all others.
  append(row) {
    const last = this.blocks.at(-1);
    if (last && last.length < most) last.push(row); else this.blocks.push([row]);
    this.size++;
  }

  // add adds a row whose key is not there yet.
  add(row) {
    if (this.size === 0) { this.append(row); return; }
    const at = this.#block(row.key);
    const block = this.blocks[at];
    block.splice(place(block, row.key), 0, row);
    if (block.length > most) this.blocks.splice(at + 1, 0, block.splice(most / 2));
    this.size++;
  }

  // delete removes the row with that key, if there is one.
  delete(key) {
    if (this.size === 0) return;
    const at = this.#block(key);
    const block = this.blocks[at];
    const i = place(block, key);
    if (block[i]?.key !== key) return;
    block.splice(i, 1);
    if (block.length === 0) this.blocks.splice(at, 1);
    this.size--;
  }

  // slice returns the rows from one index to before another.
  slice(from, to) {
    const rows = [];
    let begin = 0;
    for (const block of this.blocks) {
      if (begin >= to) break;
      if (begin + block.length > from) rows.push(...block.slice(Math.max(0, from - begin), to - begin));
      begin += block.length;
    }
    return rows;
  }

  * [Symbol.iterator]() { for (const block of this.blocks) yield* block; }

  // #block returns the index of the block that has the key, or would have it.
  #block(key) {
    let low = 0;
    let high = this.blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.blocks[middle][0].key <= key) low = middle; else high = middle - 1;
    }
    return low;
  }
}

// place returns the index of the first row of a block whose key is not less.
function place(block, key) {
  let low = 0;
  let high = block.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (block[middle].key < key) low = middle + 1; else high = middle;
  }
  return low;
}
