meta:
  id: thin_metadata
  title: dm-thin metadata device
  license: MIT
  endian: le
doc: |
  The metadata of a device-mapper thin pool, in blocks of 4096 bytes, as the kernel writes it
  (drivers/md/dm-thin-metadata.c and drivers/md/persistent-data). Checksums are not verified: they
  are CRC-32C of the bytes after the first four, and a salt for each kind of block.
instances:
  superblock:
    pos: 0
    type: superblock
types:
  superblock:
    doc: struct thin_disk_superblock, block 0
    seq:
      - id: checksum
        type: u4
      - id: flags
        type: u4
        doc: 1 is needs_check
      - id: block_nr
        type: u8
        doc: always 0
      - id: uuid
        size: 16
      - id: magic
        contents: [0xba, 0x52, 0x9c, 0x01, 0, 0, 0, 0]
        doc: 27022010
      - id: version
        type: u4
      - id: time
        type: u4
        doc: snapshot time
      - id: transaction_id
        type: u8
      - id: metadata_snapshot
        type: u8
        doc: block of the superblock of the metadata snapshot; 0 for none
      - id: data_space_map
        type: space_map_root(false)
        size: 128
      - id: metadata_space_map
        type: space_map_root(true)
        size: 128
      - id: mapping_root
        type: u8
      - id: details_root
        type: u8
      - id: data_block_sectors
        type: u4
        doc: size of a data block, in sectors of 512 bytes
      - id: metadata_block_sectors
        type: u4
        doc: always 8
      - id: nr_metadata_blocks
        type: u8
      - id: compat_flags
        type: u4
      - id: compat_ro_flags
        type: u4
      - id: incompat_flags
        type: u4
    instances:
      devices:
        io: _root._io
        pos: mapping_root * 4096
        type: node(tree::devices)
        doc: device id to the root of its mappings
      details:
        io: _root._io
        pos: details_root * 4096
        type: node(tree::details)
        doc: device id to its details
  space_map_root:
    doc: struct disk_sm_root
    params:
      - id: of_metadata
        type: bool
    seq:
      - id: nr_blocks
        type: u8
      - id: nr_allocated
        type: u8
      - id: bitmap_root
        type: u8
        doc: of the metadata, an index block; of the data, a tree of index entries
      - id: overflow_root
        type: u8
        doc: a tree of counts of 3 and more
    instances:
      index:
        io: _root._io
        pos: bitmap_root * 4096
        type: index_block
        if: of_metadata
      index_tree:
        io: _root._io
        pos: bitmap_root * 4096
        type: node(tree::index)
        if: not of_metadata
      overflow:
        io: _root._io
        pos: overflow_root * 4096
        type: node(tree::counts)
  index_block:
    doc: struct disk_metadata_index; entry i is for the counts of blocks i*16320 to i*16320+16319
    seq:
      - id: checksum
        type: u4
      - id: padding
        type: u4
      - id: block_nr
        type: u8
      - id: entries
        type: index_entry
        repeat: expr
        repeat-expr: 255
  index_entry:
    doc: struct disk_index_entry
    seq:
      - id: block
        type: u8
      - id: nr_free
        type: u4
      - id: none_free_before
        type: u4
    instances:
      bitmap:
        io: _root._io
        pos: block * 4096
        type: bitmap
  bitmap:
    doc: struct disk_bitmap_header, and 16320 counts of two bits
    seq:
      - id: checksum
        type: u4
      - id: not_used
        type: u4
      - id: block_nr
        type: u8
      - id: counts
        size: 4080
        doc: |
          Count i is in byte i/4, at bits i%4*2 and i%4*2+1; the lower bit of the two is the
          high bit of the count. 3 stands for 3 and more.
  node:
    doc: struct btree_node
    params:
      - id: tree
        type: u1
        enum: tree
    seq:
      - id: checksum
        type: u4
      - id: flags
        type: u4
        doc: 1 for an internal node, 2 for a leaf
      - id: block_nr
        type: u8
      - id: nr_entries
        type: u4
      - id: max_entries
        type: u4
      - id: value_size
        type: u4
        doc: in bytes
      - id: padding
        type: u4
      - id: keys
        type: u8
        repeat: expr
        repeat-expr: nr_entries
      - id: unused_keys
        size: 8 * (max_entries - nr_entries)
      - id: entries
        size: value_size
        type: value(tree, is_leaf)
        repeat: expr
        repeat-expr: nr_entries
    instances:
      is_leaf:
        value: flags == 2
  value:
    params:
      - id: tree
        type: u1
        enum: tree
      - id: in_leaf
        type: bool
    seq:
      - id: child_nr
        type: u8
        if: not in_leaf
      - id: root
        type: u8
        if: in_leaf and tree == tree::devices
      - id: mapping
        type: mapping
        if: in_leaf and tree == tree::mappings
      - id: details
        type: details
        if: in_leaf and tree == tree::details
      - id: index
        type: index_entry
        if: in_leaf and tree == tree::index
      - id: count
        type: u4
        if: in_leaf and tree == tree::counts
    instances:
      child:
        io: _root._io
        pos: child_nr * 4096
        type: node(tree)
        if: not in_leaf
      mappings:
        io: _root._io
        pos: root * 4096
        type: node(tree::mappings)
        if: in_leaf and tree == tree::devices
        doc: thin block to data block and time
  mapping:
    doc: 24 bits of snapshot time below 40 bits of data block
    seq:
      - id: time_low
        type: u2
      - id: time_high
        type: u1
      - id: block_low
        type: u4
      - id: block_high
        type: u1
    instances:
      time:
        value: time_low + time_high * 65536
      block:
        value: block_low + block_high * 4294967296
  details:
    doc: struct disk_device_details
    seq:
      - id: mapped_blocks
        type: u8
      - id: transaction_id
        type: u8
      - id: creation_time
        type: u4
      - id: snapshotted_time
        type: u4
enums:
  tree:
    0: devices
    1: mappings
    2: details
    3: index
    4: counts
