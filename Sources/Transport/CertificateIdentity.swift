internal import NIOSSL

/// Files that cannot be used, and what to do.
package struct TLSFilesError: Error, Equatable, Sendable, CustomStringConvertible {
    package var message: String
    package var description: String { message }
}

/// What a certificate that was verified says about its owner, in names of the form `quorate://peer/NAME` and
/// `quorate://client/NAME` (subject alternative names of the kind URI). A certificate without either belongs to nobody
/// who has business here, however well it is signed.
package struct CertificateIdentity: Hashable, Sendable {
    /// The nodes for which its owner may speak.
    package private(set) var nodes: [String] = []
    package private(set) var clients: [String] = []

    private static let nodePrefix = Array("quorate://peer/".utf8)
    private static let clientPrefix = Array("quorate://client/".utf8)

    init(_ certificate: NIOSSLCertificate?) {
        guard let certificate else { return }
        for name in certificate._subjectAlternativeNames() where name.nameType == .uri {
            let uri = Array(name.contents)
            if let node = Self.rest(of: uri, after: Self.nodePrefix) { nodes.append(node) }
            if let client = Self.rest(of: uri, after: Self.clientPrefix) { clients.append(client) }
        }
    }

    private static func rest(of uri: [UInt8], after prefix: [UInt8]) -> String? {
        guard uri.count > prefix.count, uri.starts(with: prefix) else { return nil }
        return String(validating: uri[prefix.count...], as: UTF8.self)
    }
}

/// What is spoken on a port, and so who may connect to it.
package enum PortPurpose: String, Hashable, Sendable {
    case client, peer

    /// Named in the handshake (ALPN), so that neither side takes one port for the other.
    var applicationProtocol: String { "quorate-\(rawValue)/1" }

    /// Why the owner of a certificate has no business on a port for this, and what to do; nil: it has.
    func refusal(of identity: CertificateIdentity) -> String? {
        guard identity.nodes.isEmpty else { return nil }
        guard !identity.clients.isEmpty else {
            return "the certificate names neither a node nor a client: it needs the name quorate://client/NAME or "
                + "quorate://peer/NAME (subjectAltName, URI)"
        }
        switch self {
        case .client: return nil
        case .peer:
            return "the certificate belongs to the client \(identity.clients[0]), and this port is for nodes only: a "
                + "client connects to the client port; a node needs a certificate with the name quorate://peer/NAME"
        }
    }
}
