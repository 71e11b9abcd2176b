package import Basics

/// What an operator asks of the members; only the leader does it, and answers when it is committed.
///
///     u8 kind | fields
///     1 add       text name | text peer address | bool replaces, [text name of the member that goes later]
///     2 promote   text name
///     3 remove    text name
///     4 exchange  text name of the voter that goes | text name of the learner that takes its place
///     5 update    text name | text peer address
///     6 transfer  bool names one, [text name]
package enum MemberChange: Hashable, Sendable {
    /// Makes the node that waits at this address a learner. `replacing`: it may take the name and address of that
    /// member, which is called `oldName(of:)` from then on until it is exchanged.
    case add(name: String, peerAddress: String, replacing: String?)
    case promote(name: String)
    case remove(name: String)
    /// One joint change: a voter goes and a learner takes its place.
    case exchange(old: String, new: String)
    /// The member listens for peers at another address from now on.
    case update(name: String, peerAddress: String)
    /// Hands leadership to this voter, or to the most up-to-date one.
    case transfer(name: String?)

    /// What a member is called while a new node of the same name catches up.
    package static func oldName(of name: String) -> String { "\(name)~old" }

    package func encode(requestID: UInt64, into writer: inout ByteWriter) {
        let start = writer.beginFrame(FrameHeader(kind: ClientFrameKind.changeMembers.rawValue, requestID: requestID))
        switch self {
        case .add(let name, let address, let replacing):
            writer.write(UInt8(1))
            writer.writeText(name)
            writer.writeText(address)
            writer.write(replacing != nil)
            if let replacing { writer.writeText(replacing) }
        case .promote(let name):
            writer.write(UInt8(2))
            writer.writeText(name)
        case .remove(let name):
            writer.write(UInt8(3))
            writer.writeText(name)
        case .exchange(let old, let new):
            writer.write(UInt8(4))
            writer.writeText(old)
            writer.writeText(new)
        case .update(let name, let address):
            writer.write(UInt8(5))
            writer.writeText(name)
            writer.writeText(address)
        case .transfer(let name):
            writer.write(UInt8(6))
            writer.write(name != nil)
            if let name { writer.writeText(name) }
        }
        writer.endFrame(start)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let kind = try reader.readUInt8()
        switch kind {
        case 1:
            let (name, address) = (try reader.readText(), try reader.readText())
            self = .add(name: name, peerAddress: address, replacing: try reader.readBool() ? try reader.readText() : nil)
        case 2: self = .promote(name: try reader.readText())
        case 3: self = .remove(name: try reader.readText())
        case 4:
            let old = try reader.readText()
            self = .exchange(old: old, new: try reader.readText())
        case 5:
            let name = try reader.readText()
            self = .update(name: name, peerAddress: try reader.readText())
        case 6: self = .transfer(name: try reader.readBool() ? try reader.readText() : nil)
        default: throw .unknown("change of the members", UInt64(kind))
        }
    }
}

package struct MemberChangeReply: Hashable, Sendable {
    /// The log entry that put the members in force; of a transfer, what the answering node has applied.
    package var revision: LogIndex
    /// The incarnation of the member that was added, promoted, removed, moved, or that leads now.
    package var node: NodeID
    package var leader: LeaderHint?

    package init(revision: LogIndex, node: NodeID, leader: LeaderHint?) {
        self.revision = revision
        self.node = node
        self.leader = leader
    }
}
