/// Where a process finds its own certificate and key, and the authorities that it trusts. All are PEM files.
package struct TLSFiles: Hashable, Sendable {
    /// Its own certificate, then those between it and the authority.
    package var certificate: String
    package var key: String
    /// Certificates of authorities: one, or while one replaces another, both.
    package var authority: String

    package init(certificate: String, key: String, authority: String) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}
