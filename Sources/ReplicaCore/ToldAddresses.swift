package import Basics
package import MetadataModel

/// Where each member says itself that it is, when it greets. One that was moved is known at its former address by whoever
/// has not received that change yet, and that change may wait for them:
/// 1. n1 is started at its new address, the change that says so reaches n1 and n3, and n3 is lost. 2. n1, whose log is the
/// longest, asks n2 for its vote. 3. n2 gives it, to an address where nobody is.
/// What the log says stays the first choice: a member may not know how the others reach it.
package struct ToldAddresses {
    private var addresses: [NodeID: String] = [:]

    package init() {}

    /// `node` is a member, and has shown that it is.
    package mutating func note(_ address: String, of node: NodeID) { addresses[node] = address }

    package mutating func keep(_ members: [Member]) {
        addresses = addresses.filter { told in members.contains { $0.id == told.key } }
    }

    /// - Parameter failures: calls since the last one that `member` answered.
    package func address(of member: Member, after failures: Int) -> String {
        guard !failures.isMultiple(of: 2), let told = addresses[member.id] else { return member.peerAddress }
        return told
    }
}
