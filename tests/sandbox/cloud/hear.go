package cloud

// hear hands a record, as the service wrote it (nil: it wrote none), to whatever
// alerts are made from.
func (c *Cloud) hear(account, region string, rec map[string]any) {
	c.recordedEvent(account, region, rec)
	c.watch(account, region, rec)
}
