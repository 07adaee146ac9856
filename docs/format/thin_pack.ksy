meta:
  id: thin_pack
  title: packed dm-thin metadata
  license: MIT
  endian: le
doc: |
  What thin_metadata_pack writes, here and in thin-provisioning-tools 1.x. docs/pack.md lists what
  a reader has to refuse, and two additions.
seq:
  - id: magic
    contents: [0x77, 0xef, 0x09, 0x63, 0xaa, 0xa0, 0x37, 0xa5]
  - id: version
    type: u8
    valid: 3
  - id: block_size
    type: u8
    valid: 4096
  - id: nr_blocks
    type: u8
    doc: of the device
  - id: frames
    type: frame
    repeat: eos
types:
  frame:
    seq:
      - id: len_records
        type: u8
      - id: records
        type: records
        size: len_records
        process: zlib
        doc: a second zlib stream may follow the first, and is not read here
  records:
    seq:
      - id: records
        type: record
        repeat: eos
  record:
    seq:
      - id: block_nr
        type: u8
      - id: content
        type: run(4096)
  run:
    doc: |
      Instructions that make so many bytes, as words of 8 bytes or as literals. They move a
      register, base, which is 0 when a record begins, and emit it.
    params:
      - id: len
        type: u4
    seq:
      - id: instructions
        type: instruction(_index)
        repeat: until
        repeat-until: _.made_after >= len
  instruction:
    params:
      - id: index
        type: s4
    seq:
      - id: op
        type: step
      - id: low_count
        type: u1
        if: op.tag == tag::constant_wide or op.tag == tag::count_wide or op.tag == tag::shifted_run
      - id: repeated
        type: step
        if: op.tag == tag::count or op.tag == tag::count_wide
        doc: the step that is done count times
      - id: literal
        size: len_literal
        if: op.tag == tag::literal or op.tag == tag::literal_wide
      - id: high_parts
        type: run(8 * count)
        if: op.tag == tag::shifted_run
        doc: the upper 40 bits of the words, which are data blocks in a mapping leaf
      - id: low_parts
        type: run(8 * count)
        if: op.tag == tag::shifted_run
        doc: the lower 24 bits, which are times
    instances:
      count:
        value: |
          op.tag == tag::constant or op.tag == tag::count ? op.n
          : op.tag == tag::constant_wide or op.tag == tag::count_wide or op.tag == tag::shifted_run ? op.n * 256 + low_count
          : 1
      len_literal:
        value: 'op.tag == tag::literal ? op.n : op.operand'
      made:
        value: |
          op.tag == tag::literal or op.tag == tag::literal_wide ? len_literal : 8 * count
        doc: bytes that this instruction makes
      made_before:
        value: '(index == 0 ? 0 : _parent.as<run>.instructions[index - 1].made_after).as<s4>'
      made_after:
        value: made_before + made
  step:
    seq:
      - id: code
        type: u1
      - id: operand
        type:
          switch-on: n
          cases:
            1: u1
            2: u2
            4: u4
            8: u4
        if: has_operand
      - id: operand_high
        type: u4
        if: has_operand and n == 8
        doc: the upper half of an operand of 8 bytes
    instances:
      tag:
        value: code >> 4
        enum: tag
      n:
        value: code & 15
      has_operand:
        value: tag == tag::set or tag == tag::pos_wide or tag == tag::neg_wide or tag == tag::literal_wide
enums:
  tag:
    0:
      id: set
      doc: base is the operand; emit
    1:
      id: pos
      doc: base rises by n; emit
    2:
      id: pos_wide
      doc: base rises by the operand; emit
    3:
      id: neg
      doc: base falls by n; emit
    4:
      id: neg_wide
      doc: base falls by the operand; emit
    5:
      id: constant
      doc: emit count times
    6: constant_wide
    7:
      id: count
      doc: do the next step count times
    8: count_wide
    9:
      id: literal
      doc: copy n bytes
    10:
      id: literal_wide
      doc: copy as many bytes as the operand says
    11:
      id: shifted_run
      doc: count words of two parts
