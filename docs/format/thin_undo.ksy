meta:
  id: thin_undo
  title: what a repair of dm-thin metadata overwrote
  license: MIT
  endian: le
doc: |
  The file that --undo writes. docs/undo.md says how it is applied.
seq:
  - id: header
    type: header
    size: 4096
  - id: new_block_0
    size: 4096
    doc: as the repair writes it
  - id: block_nrs
    type: u8
    repeat: expr
    repeat-expr: header.nr_blocks
    if: header.version == version::in_place
  - id: padding
    size: (-8 * header.nr_blocks) % 4096
    if: header.version == version::in_place
  - id: blocks
    size: 4096
    repeat: expr
    repeat-expr: header.nr_blocks
    doc: |
      As they were. In place: those in block_nrs, in the order in which they are put back.
      Rewritten: blocks 0, 1, and so on.
  - id: sha256
    size: 32
    doc: of all before
types:
  header:
    seq:
      - id: magic
        contents: thinundo
      - id: version
        type: u4
        enum: version
      - id: zero
        type: u4
      - id: len_device
        type: u8
        doc: size of the metadata device in bytes
      - id: nr_blocks
        type: u8
      - id: index_block_0
        type: u8
        doc: position of block 0 among the blocks
enums:
  version:
    1:
      id: in_place
      doc: the repair wrote into free blocks, and then the superblock
    2:
      id: rewritten
      doc: the repair wrote all metadata
