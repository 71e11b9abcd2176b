package import Basics
internal import Glibc
internal import NIOCore
internal import NIOSSL

/// Certificates, key and authorities of a process, as the files are now. The files are looked at before each handshake
/// and whenever the owner calls `refresh`; connections that are open go on with what they were made with. Files that
/// cannot be used change nothing: what was loaded before stays in use, and the owner is told.
///
/// Used on one event loop only.
package final class TLSSource {
    /// Whose certificate it is.
    package enum Owner: Hashable, Sendable {
        case node(String)
        case client

        var dials: PortPurpose {
            switch self {
            case .node: .peer
            case .client: .client
            }
        }
    }

    package enum Event: Equatable, Sendable {
        /// The files have changed and are in use from now on; seconds since 1970 at which the own certificate ends.
        case reloaded(expiresAt: Int64)
        /// The files have changed and cannot be used.
        case kept(TLSFilesError)
    }

    package let files: TLSFiles
    package var onEvent: ((Event) -> Void)?
    private let owner: Owner
    private var loaded: Loaded?
    /// Of files that could not be used. An error counts only when it is still there a while later: files that belong
    /// together are replaced one after the other.
    private var failed: (stamp: [FileStamp], at: NIODeadline, isReported: Bool)?

    private static let patience = TimeAmount.milliseconds(900)
    /// A peer that does not answer the end of a connection is not waited for.
    private static let shutdownTimeout = TimeAmount.seconds(1)

    private struct Loaded {
        var stamp: [FileStamp]
        var clientPort: NIOSSLContext
        var peerPort: NIOSSLContext
        var dialing: NIOSSLContext
        var expiresAt: Int64
    }

    package init(files: TLSFiles, owner: Owner) {
        self.files = files
        self.owner = owner
    }

    /// Seconds since 1970 at which the own certificate ends; nil: nothing is loaded.
    package var expiresAt: Int64? { loaded?.expiresAt }

    /// The first loading, whose errors are the caller's.
    package func load() throws(TLSFilesError) {
        if loaded == nil { loaded = try read() }
    }

    /// Looks whether the files have changed.
    package func refresh() {
        guard let loaded else { return }
        let stamp = stamps()
        guard stamp != loaded.stamp else {
            failed = nil
            return
        }
        let now = NIODeadline.now()
        if let failed, failed.stamp == stamp, failed.isReported || now - failed.at < Self.patience { return }
        do {
            let fresh = try read()
            self.loaded = fresh
            failed = nil
            onEvent?(.reloaded(expiresAt: fresh.expiresAt))
        } catch {
            if let failed, failed.stamp == stamp {
                self.failed?.isReported = true
                onEvent?(.kept(error))
            } else {
                failed = (stamp, now, false)
            }
        }
    }

    func contextForAccepting(_ purpose: PortPurpose) throws(TLSFilesError) -> NIOSSLContext {
        let loaded = try current()
        return purpose == .peer ? loaded.peerPort : loaded.clientPort
    }

    func contextForDialing() throws(TLSFilesError) -> (NIOSSLContext, PortPurpose) {
        (try current().dialing, owner.dials)
    }

    private func current() throws(TLSFilesError) -> Loaded {
        refresh()
        if let loaded { return loaded }
        let fresh = try read()
        loaded = fresh
        return fresh
    }

    // MARK: Reading

    private func stamps() -> [FileStamp] { [files.certificate, files.key, files.authority].map { FileStamp($0) } }

    private func read() throws(TLSFilesError) -> Loaded {
        // Taken first: what changes while it is read is seen to have changed afterwards.
        let stamp = stamps()
        let chain = try certificates(files.certificate, "--tls-cert")
        let authorities = try certificates(files.authority, "--tls-ca")
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(file: files.key, format: .pem)
        } catch {
            throw unusable(files.key, "--tls-key", "no private key in PEM form, without a passphrase")
        }
        try checkOwner(CertificateIdentity(chain[0]))
        var accepting = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        accepting.trustRoots = .certificates(authorities)
        var dialing = TLSConfiguration.makeClientConfiguration()
        dialing.certificateChain = chain.map { .certificate($0) }
        dialing.privateKey = .privateKey(key)
        dialing.trustRoots = .certificates(authorities)
        do {
            return Loaded(
                stamp: stamp, clientPort: try Self.context(accepting, .client),
                peerPort: try Self.context(accepting, .peer), dialing: try Self.context(dialing, owner.dials),
                expiresAt: Int64(chain[0].notValidAfter))
        } catch {
            throw TLSFilesError(
                message: "the key in \(files.key) (--tls-key) is not that of the certificate in \(files.certificate) "
                    + "(--tls-cert): give the two that were made together")
        }
    }

    /// Nodes move, and are found under several addresses: what counts is whom the certificate names, not where it is.
    private static func context(_ base: TLSConfiguration, _ purpose: PortPurpose) throws -> NIOSSLContext {
        var configuration = base
        configuration.minimumTLSVersion = .tlsv13
        configuration.certificateVerification = .noHostnameVerification
        configuration.applicationProtocols = [purpose.applicationProtocol]
        configuration.shutdownTimeout = shutdownTimeout
        return try NIOSSLContext(configuration: configuration)
    }

    private func certificates(_ path: String, _ flag: String) throws(TLSFilesError) -> [NIOSSLCertificate] {
        let found: [NIOSSLCertificate]
        do {
            found = try NIOSSLCertificate.fromPEMFile(path)
        } catch {
            throw unusable(path, flag, "no certificate in PEM form")
        }
        guard !found.isEmpty else { throw unusable(path, flag, "no certificate in PEM form") }
        return found
    }

    private func unusable(_ path: String, _ flag: String, _ otherwise: String) -> TLSFilesError {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            return TLSFilesError(message: "cannot read \(path) (\(flag)): \(String(cString: strerror(errno)))")
        }
        close(descriptor)
        return TLSFilesError(message: "\(path) (\(flag)) holds \(otherwise)")
    }

    private func checkOwner(_ identity: CertificateIdentity) throws(TLSFilesError) {
        switch owner {
        case .node(let name):
            guard !identity.nodes.contains(name) else { return }
            let named = identity.nodes.isEmpty ? "names no node" : "is that of \(identity.nodes.joined(separator: ", "))"
            throw TLSFilesError(
                message: "the certificate in \(files.certificate) (--tls-cert) \(named): the node \(name) needs one with "
                    + "the name quorate://peer/\(name) (subjectAltName, URI)")
        case .client:
            guard let refusal = PortPurpose.client.refusal(of: identity) else { return }
            throw TLSFilesError(message: "\(files.certificate) (--tls-cert): \(refusal)")
        }
    }
}

@available(*, unavailable)
extension TLSSource: Sendable {}

/// What changes when a file is written anew or another one is put in its place.
private struct FileStamp: Hashable {
    private var device: UInt64 = 0
    private var inode: UInt64 = 0
    private var size: Int64 = -1
    private var modifiedSeconds = 0
    private var modifiedNanoseconds = 0

    init(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        size = Int64(status.st_size)
        modifiedSeconds = status.st_mtim.tv_sec
        modifiedNanoseconds = status.st_mtim.tv_nsec
    }
}
