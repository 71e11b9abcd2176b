internal import Basics

extension TLSFiles {
    /// All three, or none of them.
    static func given(
        certificate: String?, key: String?, authority: String?
    ) throws(CommandError) -> TLSFiles? {
        guard let certificate, let key, let authority else {
            let given = [("--tls-cert", certificate), ("--tls-key", key), ("--tls-ca", authority)]
            guard given.contains(where: { $0.1 != nil }) else { return nil }
            let missing = given.filter { $0.1 == nil }.map(\.0).joined(separator: " and ")
            throw .usage(
                "\(missing) is missing: --tls-cert, --tls-key and --tls-ca go together (or QUORATE_TLS_CERT, "
                    + "QUORATE_TLS_KEY and QUORATE_TLS_CA)")
        }
        return TLSFiles(certificate: certificate, key: key, authority: authority)
    }
}
