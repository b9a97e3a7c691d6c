package executor

// SpoolLeft returns how many attempts a spool that nobody has open holds.
func SpoolLeft(dir string) (int, error) {
	s, err := openSpool(dir)
	if err != nil {
		return 0, err
	}
	defer s.close()
	return len(s.all()), nil
}
