package import Basics

/// First on every client connection. A node of another cluster refuses it, so nobody reads the wrong cluster's answer.
package struct ClientHello: Hashable, Sendable {
    package var versions: ClosedRange<UInt16>
    /// The cluster that the client has spoken with before; nil in a first contact.
    package var identity: ClusterIdentity?
    /// For logs and `status`.
    package var clientName: String
    package var clientVersion: String

    package init(
        versions: ClosedRange<UInt16> = ProtocolVersion.supported, identity: ClusterIdentity?, clientName: String,
        clientVersion: String
    ) {
        self.versions = versions
        self.identity = identity
        self.clientName = clientName
        self.clientVersion = clientVersion
    }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.hello.rawValue, requestID: requestID))
        writer.write(versions)
        writer.write(identity)
        writer.writeText(clientName)
        writer.writeText(clientVersion)
        writer.endFrame(start)
    }

    package init(decoding body: RawSpan) throws(DecodeError) {
        var reader = ByteReader(body)
        versions = try reader.readVersions()
        identity = try reader.readIdentity()
        clientName = try reader.readText()
        clientVersion = try reader.readText()
    }
}

/// What this connection may carry; each is checked by the node too.
package struct ConnectionLimits: Hashable, Sendable {
    /// A whole frame, in bytes.
    package var frameSizeMax: UInt32
    package var valueSizeMax: UInt32
    package var transactionOperationsMax: UInt32
    /// Requests without a reply, on one connection.
    package var requestsMax: UInt32
    /// Bounds of a session's timeout, in milliseconds.
    package var sessionTimeoutMin: UInt32
    package var sessionTimeoutMax: UInt32

    package init(
        frameSizeMax: UInt32 = UInt32(Limits.frameSizeMaxDefault),
        valueSizeMax: UInt32 = UInt32(Limits.valueSizeMaxDefault),
        transactionOperationsMax: UInt32 = UInt32(Limits.transactionOperationsMax),
        requestsMax: UInt32 = UInt32(Limits.requestsPerConnectionMax),
        sessionTimeoutMin: UInt32 = UInt32(Limits.sessionTimeoutMin.nanoseconds / 1_000_000),
        sessionTimeoutMax: UInt32 = UInt32(Limits.sessionTimeoutMax.nanoseconds / 1_000_000)
    ) {
        self.frameSizeMax = frameSizeMax
        self.valueSizeMax = valueSizeMax
        self.transactionOperationsMax = transactionOperationsMax
        self.requestsMax = requestsMax
        self.sessionTimeoutMin = sessionTimeoutMin
        self.sessionTimeoutMax = sessionTimeoutMax
    }
}

/// Where the leader is, as far as the node knows.
package struct LeaderHint: Hashable, Sendable {
    package var name: String
    /// HOST:PORT for clients; empty while the node knows only the name.
    package var clientAddress: String

    package init(name: String, clientAddress: String) {
        self.name = name
        self.clientAddress = clientAddress
    }
}

package struct HelloReply: Hashable, Sendable {
    package var revision: LogIndex
    package var version: UInt16
    /// Nil while the node belongs to no cluster: only `status`, `initialize` and `ping` are answered.
    package var identity: ClusterIdentity?
    package var node: NodeID
    package var nodeName: String
    package var softwareVersion: String
    /// A mutation that opens a session names this, plus what has passed since on the client's clock.
    package var clusterTime: ClusterTime
    package var limits: ConnectionLimits
    package var leader: LeaderHint?

    package init(
        revision: LogIndex, version: UInt16, identity: ClusterIdentity?, node: NodeID, nodeName: String,
        softwareVersion: String, clusterTime: ClusterTime, limits: ConnectionLimits, leader: LeaderHint?
    ) {
        self.revision = revision
        self.version = version
        self.identity = identity
        self.node = node
        self.nodeName = nodeName
        self.softwareVersion = softwareVersion
        self.clusterTime = clusterTime
        self.limits = limits
        self.leader = leader
    }

    func encodeFields(into writer: inout ByteWriter) {
        writer.write(version)
        writer.write(identity)
        writer.write(node.rawValue)
        writer.writeText(nodeName)
        writer.writeText(softwareVersion)
        writer.write(clusterTime.nanoseconds)
        writer.write(limits.frameSizeMax)
        writer.write(limits.valueSizeMax)
        writer.write(limits.transactionOperationsMax)
        writer.write(limits.requestsMax)
        writer.write(limits.sessionTimeoutMin)
        writer.write(limits.sessionTimeoutMax)
        writer.write(leader)
    }

    init(decoding reader: inout ByteReader, revision: LogIndex) throws(DecodeError) {
        self.revision = revision
        version = try reader.readUInt16()
        identity = try reader.readIdentity()
        node = NodeID(try reader.readUInt64())
        nodeName = try reader.readText()
        softwareVersion = try reader.readText()
        clusterTime = ClusterTime(nanoseconds: try reader.readUInt64())
        let frameSizeMax = try reader.readUInt32()
        let valueSizeMax = try reader.readUInt32()
        let transactionOperationsMax = try reader.readUInt32()
        let requestsMax = try reader.readUInt32()
        let sessionTimeoutMin = try reader.readUInt32()
        limits = ConnectionLimits(
            frameSizeMax: frameSizeMax, valueSizeMax: valueSizeMax,
            transactionOperationsMax: transactionOperationsMax, requestsMax: requestsMax,
            sessionTimeoutMin: sessionTimeoutMin, sessionTimeoutMax: try reader.readUInt32())
        leader = try reader.readLeaderHint()
    }
}

extension ByteWriter {
    /// `u8` present; if so name and client address.
    mutating func write(_ leader: LeaderHint?) {
        write(leader != nil)
        guard let leader else { return }
        writeText(leader.name)
        writeText(leader.clientAddress)
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func readLeaderHint() throws(DecodeError) -> LeaderHint? {
        guard try readBool() else { return nil }
        let name = try readText()
        return LeaderHint(name: name, clientAddress: try readText())
    }
}
