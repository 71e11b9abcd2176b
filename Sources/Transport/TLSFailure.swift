internal import Basics
internal import Glibc
internal import NIOCore
internal import NIOSSL

/// What went wrong between two sides that could not agree on TLS, in a clause that says what to do. The library knows
/// most of it only as text, so it is text that is looked at; what is not recognised is passed on as it is.
enum TLSFailure {
    /// - Parameters:
    ///   - certificate: the other side's, as far as it came.
    ///   - isAccepting: this side is the one that was called.
    static func describe(
        _ error: any Error, certificate: NIOSSLCertificate?, files: TLSFiles, isAccepting: Bool
    ) -> String {
        let text = "\(error)"
        func says(_ reason: String) -> Bool { text.contains(reason) }

        if says("CERTIFICATE_VERIFY_FAILED") { return distrust(certificate, files) }
        if let complaint = complaint(text, files) { return complaint }
        if says("PEER_DID_NOT_RETURN_A_CERTIFICATE") {
            return "it shows no certificate: it needs --tls-cert, --tls-key and --tls-ca"
        }
        if says("UNSUPPORTED_PROTOCOL") || says("PROTOCOL_VERSION") { return "it does not speak TLS 1.3, the least here" }
        if says("WRONG_VERSION_NUMBER") || says("HTTP_REQUEST") || says("HTTPS_PROXY_REQUEST") {
            return isAccepting ? plainTextCaller : plainTextAnswer
        }
        if says("eofDuringHandshake") || says("EOF during handshake") || error is IOError {
            return "it closed the connection during the TLS handshake"
        }
        return "TLS: \(text)"
    }

    static let plainTextCaller =
        "it speaks plain text, and this port TLS: give it --tls-cert, --tls-key and --tls-ca"
    private static let plainTextAnswer =
        "it answers in plain text: give it --tls-cert, --tls-key and --tls-ca, or leave them out here"
    /// To one who speaks plain text, of a side that answers in TLS.
    static let needsTLS = "it speaks TLS: give --tls-cert, --tls-key and --tls-ca"
    /// To one who speaks TLS, of a port that does not.
    static let hasNoTLS =
        "this port speaks plain text: start the node with --tls-cert, --tls-key and --tls-ca, or leave them out"
    static let callerNeedsPlainText =
        "it speaks TLS, and this node was started without --tls-cert, --tls-key and --tls-ca"
    static let endedUnheard = "it ended the connection right after the TLS handshake; its log may say why"

    static func wrongPort(_ purpose: PortPurpose, isAccepting: Bool) -> String {
        switch (purpose, isAccepting) {
        case (.client, false):
            "it speaks TLS, but is no client port of a node: connect to the address that --client of `serve` names"
        case (.peer, false):
            "it speaks TLS, but is no peer port of a node: --cluster takes the addresses that --peer of `serve` names"
        case (.client, true):
            "this is the client port of a node, and the caller did not name its protocol, quorate-client/1 (ALPN)"
        case (.peer, true): "this is the peer port of a node, for other nodes: clients connect to its client port"
        }
    }

    /// Why this side does not trust the other's certificate.
    private static func distrust(_ certificate: NIOSSLCertificate?, _ files: TLSFiles) -> String {
        let now = time(nil)
        if let certificate, certificate.notValidAfter < now {
            return "its certificate expired on \(utcDay(Int64(certificate.notValidAfter))): renew it there"
        }
        if let certificate, certificate.notValidBefore > now {
            return "its certificate is valid from \(utcDay(Int64(certificate.notValidBefore))) only: compare the clocks"
        }
        return "its certificate was not signed by a CA in \(files.authority) (--tls-ca), or not for this use: both sides "
            + "need certificates of one CA"
    }

    /// What the other side has against our certificate.
    private static func complaint(_ text: String, _ files: TLSFiles) -> String? {
        let own = "the certificate in \(files.certificate) (--tls-cert)"
        if text.contains("ALERT_CERTIFICATE_EXPIRED") { return "it refuses \(own): it has expired; renew it" }
        if text.contains("ALERT_UNKNOWN_CA") {
            return "it refuses \(own): it does not know the CA that signed it; both sides need certificates of one CA"
        }
        if text.contains("ALERT_CERTIFICATE_REQUIRED") { return "it wants a certificate: give --tls-cert and --tls-key" }
        for alert in ["BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_REVOKED"]
        where text.contains("ALERT_\(alert)") {
            return "it refuses \(own): not made for this use, or not yet valid by its clock"
        }
        return nil
    }
}

/// The one line of text with which a port turns a connection away before the first frame. No frame begins like it, and a
/// person who looks at the port by hand can read it.
enum RefusalLine {
    private static let prefix = Array("quorate: ".utf8)
    static let sizeMax = 512

    static func bytes(_ reason: String) -> [UInt8] {
        prefix + Array(reason.utf8.prefix(sizeMax - prefix.count - 1)) + [UInt8(ascii: "\n")]
    }

    /// What a side that sent no frame said instead, if it can be told.
    static func reason(in bytes: some Collection<UInt8>) -> String? {
        guard bytes.starts(with: prefix) else { return nil }
        let text = bytes.dropFirst(prefix.count).prefix { $0 != UInt8(ascii: "\n") }
        // A stranger's words: nothing that a terminal would act on.
        return String(decoding: text.filter { (0x20..<0x7F).contains($0) }, as: UTF8.self)
    }
}

/// The beginning of what TLS sends, on a connection without it.
enum TLSRecord {
    static func isHello(_ bytes: some Collection<UInt8>) -> Bool { bytes.starts(with: [22, 3]) }
    static func isAlert(_ bytes: some Collection<UInt8>) -> Bool { bytes.starts(with: [21, 3]) }
}

/// The day of a time in seconds since 1970, as 2026-11-21.
package func utcDay(_ seconds: Int64) -> String {
    var (seconds, parts) = (time_t(seconds), tm())
    guard gmtime_r(&seconds, &parts) != nil else { return "\(seconds) s after 1970" }
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(parts.tm_year + 1_900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
}
