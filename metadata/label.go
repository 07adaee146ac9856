package metadata

import "fmt"

// Label returns the name of a device in messages: "device 7", or "vg/data (device 7)" if its user
// calls it vg/data. The name may be empty.
func Label(id DevID, name string) string {
	if name == "" {
		return fmt.Sprintf("device %d", id)
	}
	return fmt.Sprintf("%s (device %d)", name, id)
}

// A DeviceError adds the device to an error.
type DeviceError struct {
	ID  DevID
	Err error
}

func (e *DeviceError) Error() string { return e.Named("") }

// Named is like Error, for a device with the given user name.
func (e *DeviceError) Named(name string) string {
	return fmt.Sprintf("%s: %v", Label(e.ID, name), e.Err)
}

// DevID returns the device that the error is about.
func (e *DeviceError) DevID() DevID { return e.ID }

func (e *DeviceError) Unwrap() error { return e.Err }
