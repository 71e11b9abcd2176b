package import Basics
package import MetadataModel

/// The answers to everything that is neither a mutation nor a query. All replies begin alike, with code and revision
/// (`ReplyHead`); what follows a code of 0 depends on the kind.
package enum ControlReply: Hashable, Sendable {
    case hello(HelloReply)
    case keepAlive(KeepAliveReply)
    case status(StatusReply)
    case initialized(InitializeReply)
    case pong(PingReply)
    case snapshot(SnapshotReply)
    case snapshotPiece(SnapshotPieceReply)
    case membersChanged(MemberChangeReply)
    case alarmCleared(AlarmClearedReply)
    case scrub(ScrubReply)
    /// The request of that kind was refused.
    case failed(ReplyError, ClientFrameKind)

    package var kind: ClientFrameKind {
        switch self {
        case .hello: .hello
        case .keepAlive: .keepAlive
        case .status: .status
        case .initialized: .initialize
        case .pong: .ping
        case .snapshot: .snapshot
        case .snapshotPiece: .snapshotPiece
        case .membersChanged: .changeMembers
        case .alarmCleared: .clearAlarm
        case .scrub: .scrub
        case .failed(_, let kind): kind
        }
    }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: kind.rawValue, flags: .reply, requestID: requestID))
        switch self {
        case .hello(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            reply.encodeFields(into: &writer)
        case .keepAlive(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.notOpen)
            writer.write(reply.leader)
        case .status(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            reply.encodeFields(into: &writer)
        case .initialized(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.identity)
        case .pong(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.clusterTime.nanoseconds)
            writer.write(reply.leader)
        case .snapshot(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.snapshot)
        case .snapshotPiece(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            reply.encodeFields(into: &writer)
        case .membersChanged(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.node.rawValue)
            writer.write(reply.leader)
        case .alarmCleared(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            writer.write(reply.count)
        case .scrub(let reply):
            Reply.writeSuccess(revision: reply.revision, into: &writer)
            reply.report.encodeFields(into: &writer)
        case .failed(let error, _): error.encode(revision: .zero, into: &writer)
        }
        writer.endFrame(start)
    }

    package static func decode(kind: UInt16, body: RawSpan) throws(DecodeError) -> ControlReply {
        guard let kind = ClientFrameKind(rawValue: kind) else { throw .unknown("frame kind", UInt64(kind)) }
        var reader = ByteReader(body)
        let revision: LogIndex
        switch try ReplyHead(decoding: &reader) {
        case .failure(let error, _): return .failed(error, kind)
        case .success(let ofNode): revision = ofNode
        }
        switch kind {
        case .hello: return .hello(try HelloReply(decoding: &reader, revision: revision))
        case .keepAlive:
            let notOpen = try reader.readSessions()
            return .keepAlive(
                KeepAliveReply(revision: revision, notOpen: notOpen, leader: try reader.readLeaderHint()))
        case .status: return .status(try StatusReply(decoding: &reader, revision: revision))
        case .initialize:
            guard let identity = try reader.readIdentity() else { throw .invalid("initialize without an identity") }
            return .initialized(InitializeReply(revision: revision, identity: identity))
        case .ping:
            let time = ClusterTime(nanoseconds: try reader.readUInt64())
            return .pong(
                PingReply(revision: revision, clusterTime: time, leader: try reader.readLeaderHint()))
        case .snapshot: return .snapshot(SnapshotReply(revision: revision, snapshot: try reader.readUInt64()))
        case .snapshotPiece: return .snapshotPiece(try SnapshotPieceReply(decoding: &reader, revision: revision))
        case .changeMembers:
            let node = NodeID(try reader.readUInt64())
            return .membersChanged(
                MemberChangeReply(revision: revision, node: node, leader: try reader.readLeaderHint()))
        case .clearAlarm:
            return .alarmCleared(AlarmClearedReply(revision: revision, count: try reader.readUInt16()))
        case .scrub: return .scrub(ScrubReply(revision: revision, report: try ScrubReport(decoding: &reader)))
        case .mutate, .query, .goingAway, .watch, .watchCredit, .watchCancel:
            throw .invalid("reply of another kind")
        }
    }
}

package struct KeepAliveReply: Hashable, Sendable {
    package var revision: LogIndex
    /// Sessions among those named that are not open: expired, ended, or never opened.
    package var notOpen: [SessionID]
    package var leader: LeaderHint?

    package init(revision: LogIndex, notOpen: [SessionID], leader: LeaderHint?) {
        self.revision = revision
        self.notOpen = notOpen
        self.leader = leader
    }
}

package struct InitializeReply: Hashable, Sendable {
    package var revision: LogIndex
    /// The cluster that was formed.
    package var identity: ClusterIdentity

    package init(revision: LogIndex, identity: ClusterIdentity) {
        self.revision = revision
        self.identity = identity
    }
}

package struct PingReply: Hashable, Sendable {
    package var revision: LogIndex
    package var clusterTime: ClusterTime
    package var leader: LeaderHint?

    package init(revision: LogIndex, clusterTime: ClusterTime, leader: LeaderHint?) {
        self.revision = revision
        self.clusterTime = clusterTime
        self.leader = leader
    }
}

/// A node tells its clients that it is about to stop. Requests that it has taken are still answered; new ones go
/// elsewhere. Body: the leader, as in `hello`.
package struct GoingAway: Hashable, Sendable {
    package var leader: LeaderHint?

    package init(leader: LeaderHint?) { self.leader = leader }

    package func encode(into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.goingAway.rawValue, requestID: 0))
        writer.write(leader)
        writer.endFrame(start)
    }

    package init(decoding body: RawSpan) throws(DecodeError) {
        var reader = ByteReader(body)
        leader = try reader.readLeaderHint()
    }
}

/// Frames around replies whose body somebody else writes: the state machine, or the leader for a follower.
package enum ClientReply {
    /// Starts the reply to a mutation or a query; its body is what is written until `endFrame`.
    package static func begin(
        _ kind: ClientFrameKind, requestID: UInt64, into writer: inout ByteWriter
    ) -> FrameStart {
        writer.beginFrame(FrameHeader(kind: kind.rawValue, flags: .reply, requestID: requestID))
    }

    /// A whole reply with a body that is at hand.
    package static func encode(
        _ kind: ClientFrameKind, requestID: UInt64, body: RawSpan, into writer: inout ByteWriter
    ) {
        let start = begin(kind, requestID: requestID, into: &writer)
        writer.write(body)
        writer.endFrame(start)
    }

    /// A refusal before anything was logged, to a request of any kind, known or not.
    package static func refuse(
        kind: UInt16, requestID: UInt64, _ error: ReplyError, into writer: inout ByteWriter
    ) {
        let start = writer.beginFrame(FrameHeader(kind: kind, flags: .reply, requestID: requestID))
        error.encode(revision: .zero, into: &writer)
        writer.endFrame(start)
    }
}
