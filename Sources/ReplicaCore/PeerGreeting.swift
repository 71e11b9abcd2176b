package import Basics
package import Wire

/// What a node that belongs to a cluster says to whoever greets it on the peer port: nothing else is read from one who
/// is refused here.
package struct PeerGreeting: Sendable {
    package var identity: ClusterIdentity
    package var node: NodeID
    package var name: String
    /// Of the newest change of members that this node knows to be committed, and whether it can tell by it who was removed.
    package var configuration: (index: LogIndex, tellsOfRemoval: Bool)
    /// Of the cluster.
    package var featureLevel: UInt32

    package init(
        identity: ClusterIdentity, node: NodeID, name: String,
        configuration: (index: LogIndex, tellsOfRemoval: Bool), featureLevel: UInt32
    ) {
        self.featureLevel = featureLevel
        self.identity = identity
        self.node = node
        self.name = name
        self.configuration = configuration
    }

    /// - Parameter isHeard: whether the caller, who is of this very cluster, is a member or brings news of the members.
    /// - Returns: why the caller is refused; nil: it is not.
    package func refusal(of hello: PeerHello, isHeard: () -> Bool) -> (PeerRefusal, String)? {
        guard ProtocolVersion.chosen(from: hello.versions) != nil else {
            return (.unsupportedVersion, "\(name) speaks protocol \(ProtocolVersion.supported)")
        }
        guard let theirs = hello.identity else {
            if hello.featureLevel < featureLevel { return (.unsupportedVersion, levelText(hello)) }
            return (
                .notMember,
                "\(name) belongs to cluster \(identity), in which \(hello.name), whose directory is empty, does not take "
                    + "part"
            )
        }
        guard theirs.id == identity.id else {
            return (.wrongCluster, "\(name) belongs to cluster \(identity), \(hello.name) to \(theirs)")
        }
        guard theirs == identity else {
            return (
                .wrongGeneration,
                "\(name) is of generation \(identity.generation), \(hello.name) of \(theirs.generation): the cluster was "
                    + "restored or recovered in between"
            )
        }
        if hello.sender == node { return (.isSelf, "\(name) called itself") }
        let isHeard = isHeard()
        // Whoever takes part was given the change that names him, or a later one, and knows it to be committed. One that was
        // away for long may expect nobody who is still here, and is told all the same.
        if !isHeard, configuration.tellsOfRemoval, hello.configurationIndex <= configuration.index {
            return (.removed, "the change of members at index \(configuration.index)")
        }
        if let expected = hello.expectedReceiver, expected != node {
            return (
                .wrongReceiver,
                "\(hello.name) expected incarnation \(expected); this is \(node): one data directory was replaced"
            )
        }
        guard !isHeard else {
            // It would meet in its log what it does not know.
            return hello.featureLevel < featureLevel ? (.unsupportedVersion, levelText(hello)) : nil
        }
        return (.notMember, "incarnation \(hello.sender) of \(hello.name) is no member of the cluster")
    }

    private func levelText(_ hello: PeerHello) -> String {
        "the cluster is at feature level \(featureLevel), and the release that \(hello.name) runs "
            + "(\(hello.softwareVersion)) knows \(hello.featureLevel): start it with a newer one"
    }
}
