package metadata

import "fmt"

// Label is what messages call a device: "device 7", or "vg/data (device 7)" if its user calls
// it vg/data. The name may be empty.
func Label(id DevID, name string) string {
	if name == "" {
		return fmt.Sprintf("device %d", id)
	}
	return fmt.Sprintf("%s (device %d)", name, id)
}

// A DeviceError says which device an error befell.
type DeviceError struct {
	ID  DevID
	Err error
}

func (e *DeviceError) Error() string { return e.Named("") }

// Named is Error for a device that its user calls name.
func (e *DeviceError) Named(name string) string {
	return fmt.Sprintf("%s: %v", Label(e.ID, name), e.Err)
}

// DevID is the device that the error is about.
func (e *DeviceError) DevID() DevID { return e.ID }

func (e *DeviceError) Unwrap() error { return e.Err }
