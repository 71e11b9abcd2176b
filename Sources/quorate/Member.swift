internal import ArgumentParser
internal import Basics
internal import Client

struct Member: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show and change the members of the cluster.",
        discussion: """
            Addresses are peer addresses. A new member is a learner, which does not vote, until it is promoted:
              quorate serve --name n4 --data DIR --client HOST:PORT --peer HOST:PORT --join PEER   (on the new machine)
              quorate member add n4=HOST:PORT
              quorate member promote n4
            `replace` does all of it, and takes the old member out in the same step.
            """,
        subcommands: [
            MemberList.self, MemberAdd.self, MemberPromote.self, MemberRemove.self, MemberReplace.self,
            MemberUpdate.self, MemberTransfer.self,
        ])
}

/// NAME=HOST:PORT.
struct NamedAddress: ExpressibleByArgument {
    var name: String
    var address: String

    init?(argument: String) {
        let parts = argument.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let address = HostPort(String(parts[1])), address.port != 0 else { return nil }
        name = String(parts[0])
        self.address = address.description
    }
}

struct MemberList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Show the members: who votes, who leads, how far each is behind.")

    @OptionGroup var options: ClientOptions

    func run() async throws {
        let list = try await ClusterClient.with(options) { try await $0.members() }
        Output.line(options.json ? list.json.text : list.text)
    }
}

struct MemberAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Make a node that waits with `serve --join` a learner.")

    @Argument(help: ArgumentHelp("Name and peer address of the node.", valueName: "NAME=HOST:PORT")) var node: NamedAddress
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let change = try await ClusterClient.with(options) { try await $0.addMember(node, replacing: nil) }
        MemberOutput.line(
            "\(node.name) is a learner; when it has caught up run `quorate member promote \(node.name)`", node.name, change,
            options)
    }
}

struct MemberPromote: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promote", abstract: "Make a learner that has caught up a voter.")

    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let change = try await ClusterClient.with(options) { try await $0.promoteMember(name) }
        MemberOutput.line("\(name) votes", name, change, options)
    }
}

struct MemberRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a member out of the cluster, for good.",
        discussion: "Its process can be stopped and its data directory deleted afterwards. A leader hands over first.")

    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let change = try await ClusterClient.with(options) { try await $0.removeMember(name) }
        MemberOutput.line(
            "\(name) is a member no more: stop it and delete its data directory", name, change, options)
    }
}

struct MemberReplace: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replace", abstract: "Put a new node in the place of a member.",
        discussion: """
            Adds the new node as a learner, waits until it has caught up, and exchanges the two in one step, so that the
            number of voters stays the same. The new node may have the name and the address of the old one: for a member
            that has lost its data directory. Run again it goes on where it stopped.
            """)

    @Argument(help: ArgumentHelp("The member that goes.", valueName: "OLD")) var old: String
    @Argument(help: ArgumentHelp("The node that comes.", valueName: "NEW=HOST:PORT")) var new: NamedAddress
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let change = try await ClusterClient.with(options) { try await $0.replaceMember(old, by: new) }
        let who = old == new.name ? "the old \(old)" : old
        MemberOutput.line("\(new.name) votes in the place of \(who)", new.name, change, options)
    }
}

struct MemberUpdate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Tell the members where one of them is found from now on.")

    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String
    @Option(help: ArgumentHelp("Its new peer address.", valueName: "HOST:PORT")) var peer: String
    @OptionGroup var options: ClientOptions

    func run() async throws {
        guard let address = HostPort(peer), address.port != 0 else {
            throw CommandError.usage("--peer: \"\(peer)\" is not HOST:PORT, as in 10.0.0.4:7500")
        }
        let change = try await ClusterClient.with(options) {
            try await $0.updateMember(name, peerAddress: address.description)
        }
        MemberOutput.line("\(name) is at \(address)", name, change, options)
    }
}

struct MemberTransfer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "transfer", abstract: "Hand leadership to a voter, or to the most up-to-date one.")

    @Argument(help: ArgumentHelp(valueName: "NAME")) var name: String?
    @OptionGroup var options: ClientOptions

    func run() async throws {
        let leader = try await ClusterClient.with(options) { client in
            // Who wants a node to lead that leads already has what they want.
            if let name, try await client.members().leads(name) { return name }
            return try await client.transferLeadership(to: name).leaderName ?? name ?? "another node"
        }
        if options.json {
            Output.line(JSON.object([("leader", .string(leader))]).text)
        } else {
            Output.line("\(leader) leads")
        }
    }
}

enum MemberOutput {
    static func line(_ text: String, _ name: String, _ change: MembersChanged, _ options: ClientOptions) {
        guard options.json else { return Output.line(text) }
        Output.line(
            JSON.object([
                ("name", .string(name)), ("id", .string(JSON.hexadecimal(change.member))),
                ("revision", .number(change.revision)),
            ]).text)
    }
}
