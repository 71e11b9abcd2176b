internal import Basics
internal import Transport

/// With what a client shows the nodes who it is, and by what it knows them: three PEM files. They are read again when
/// they change; connections that are open go on.
public struct MetadataClientTLS: Hashable, Sendable {
    /// The client's own certificate, then those between it and the authority. It bears the name
    /// `quorate://client/NAME`; a node's serves as well.
    public var certificate: String
    public var key: String
    /// The authorities that signed the nodes' certificates.
    public var authority: String

    public init(certificate: String, key: String, authority: String) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }

    /// Reads the files, so that what is wrong with them is known before the first call.
    public func check() throws(ClientError) {
        do throws(TLSFilesError) {
            try TLSSource(files: files, owner: .client).load()
        } catch {
            throw ClientError(code: .invalidRequest, message: error.message)
        }
    }

    var files: TLSFiles { TLSFiles(certificate: certificate, key: key, authority: authority) }
}
