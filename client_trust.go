package entropy

// unpacked returns the configuration with what a [Ticket] says put in its place:
// the credential alone in Token, and who may receive it in CAPin and ClusterID.
func (c ClientConfig) unpacked() (ClientConfig, error) {
	if IsTicket(c.Token) {
		t, err := ParseTicket(c.Token)
		if err != nil {
			return c, err
		}
		if c.ClusterID != "" && c.ClusterID != t.ClusterID {
			return c, Errorf(CodeConflict, "the token is for cluster %s, and this is a member of %s", t.ClusterID, c.ClusterID).
				WithHint("use a token of cluster %s; or, to leave it for good, run entropy worker reset-identity", c.ClusterID)
		}
		c.Token = t.Secret
		if c.CAPin == "" && c.RootCAs == nil {
			c.CAPin, c.ClusterID = t.CAPin, t.ClusterID
		}
	}
	if c.CAPin == "" {
		c.ClusterID = "" // there is nothing to check it by
	}
	return c, nil
}

// strangerError is the certificate of a server that is not the one that is pinned.
type strangerError string

// Error returns what is wrong with the certificate.
func (e strangerError) Error() string { return string(e) }
