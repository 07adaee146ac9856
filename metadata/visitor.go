package metadata

// A Header is the part of a dump about the whole pool.
type Header struct {
	UUID          [16]byte // zero in all known pools
	Time          uint32   // snapshot clock
	TransactionID uint64
	Flags         uint32 // of the superblock, see [NeedsCheck]
	Version       uint32 // 1 or 2
	DataBlockSize uint32 // sectors
	NrDataBlocks  uint64 // 0 in the dump of a metadata snapshot
}

// Details are what the pool knows about a device besides its mappings (the kernel's struct
// disk_device_details).
type Details struct {
	MappedBlocks    uint64
	TransactionID   uint64 // of the superblock when the device was created
	CreationTime    uint32
	SnapshottedTime uint32 // of its last snapshot, or of its creation
}

// A Visitor receives the content of a pool. tool/dump calls it for metadata, xmlfmt and jsonfmt
// for their formats; internal/write turns the calls into new metadata. The order of calls is:
//
//	Begin
//	  ( BeginDef Runs* EndDef )*
//	  ( BeginDevice ( Ref | Runs )* EndDevice )*
//	End
//
// Thin blocks ascend within a device, including its references, and within a def. An error from
// any method ends the visit. If it ends early, End is not called.
type Visitor interface {
	Begin(Header) error
	// BeginDef starts a set of runs that devices refer to by name.
	BeginDef(name string) error
	EndDef() error
	BeginDevice(DevID, Details) error
	// Ref stands for the runs of the named def.
	Ref(name string) error
	// Runs may be called any number of times. The slice belongs to the caller and is only valid until
	// Runs returns.
	Runs([]Run) error
	EndDevice() error
	End() error
}
