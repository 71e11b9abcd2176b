package import Basics
internal import MetadataModel

/// What a node knows of the members beyond its log, and who waits for a change of them.
struct MemberWork {
    /// One who showed itself as a member under a configuration that this node's log has not reached yet.
    struct Contact {
        var member: Member
        /// Of that configuration: once the log is there, the log says who is a member.
        var index: LogIndex
    }

    /// The one change that is under way.
    struct Waiting {
        enum Stage {
            case probing(token: UInt64, MemberToAdd)
            /// Ends when a configuration at or behind this index is committed and not joint.
            case committing(LogIndex)
            case handingOver
        }

        var slot: ConnectionSlot
        var requestID: UInt64
        var term: Term
        var node: NodeID
        var stage: Stage
        var deadline: Instant
    }

    struct MemberToAdd {
        var name: String
        var peerAddress: String
        var replacing: String?
    }

    var contacts: [Contact] = []
    /// Of the configuration that this node was given when it joined; 0: it is a founder.
    var joinedAt = LogIndex.zero
    var waiting: Waiting?
    /// What the configuration that is being proposed looks like in full: the core knows ids only.
    var planned: Membership?
    var lastProbe: UInt64 = 0
    /// Why this node is a member no more.
    var removal: String?

    static let contactsMax = 64
    /// A learner that lacks more entries than this would hold up commits as a voter.
    static let lagMax = 1_024
    static let votersMax = 9
}

/// A question to a node that is to become a member: who is it, and is its directory empty? Answer `probed`.
package struct MemberProbe: Sendable {
    package var token: UInt64
    package var address: String
}

package enum MemberProbeAnswer: Sendable {
    case answered(isEmpty: Bool, node: NodeID, name: String, featureLevel: UInt32)
    /// "refused the connection"
    case failed(String)
}
