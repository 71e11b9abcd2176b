internal import Basics
internal import Glibc

/// Finds the processes that listen on this machine's loopback addresses. Linux only, and only those of the own user,
/// or all of them for root; who is not found has no figures.
enum LocalNodes {
    /// - Returns: each process once, in the order of the addresses. Those that other machines can reach are passed over:
    ///   who is meant by them is for the network to say.
    static func processes(listeningAt addresses: [HostPort]) -> [Int32] {
        var ports: [UInt16] = []
        for address in addresses where address.isLoopback && !ports.contains(address.port) { ports.append(address.port) }
        guard !ports.isEmpty else { return [] }
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].compactMap { ProcFile.text($0) }
        let listening = tables.flatMap { sockets(listeningIn: $0) }
        let inodes = ports.map { port in Set(listening.filter { $0.port == port }.map(\.inode)) }
        let owners = owners(of: inodes.reduce(into: []) { $0.formUnion($1) })
        var processes: [Int32] = []
        for ofPort in inodes {
            // Children may have inherited the socket: the one with the lowest id made it.
            guard let process = ofPort.compactMap({ owners[$0] }).min(), !processes.contains(process) else { continue }
            processes.append(process)
        }
        return processes
    }

    /// Sockets in state LISTEN, in a table as `/proc/net/tcp` has it.
    static func sockets(listeningIn table: String) -> [(port: UInt16, inode: String)] {
        table.split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 9, fields[3] == "0A", let colon = fields[1].lastIndex(of: ":"),
                let port = UInt16(fields[1][fields[1].index(after: colon)...], radix: 16)
            else { return nil }
            return (port, String(fields[9]))
        }
    }

    /// The process with the lowest id that has each of these sockets open.
    private static func owners(of inodes: Set<String>) -> [String: Int32] {
        var owners: [String: Int32] = [:]
        for process in ProcFile.names(in: "/proc").compactMap({ Int32($0) }).sorted() {
            for descriptor in ProcFile.names(in: "/proc/\(process)/fd") {
                guard let target = ProcFile.target(ofLink: "/proc/\(process)/fd/\(descriptor)"),
                    target.hasPrefix("socket:["), target.hasSuffix("]")
                else { continue }
                let inode = String(target.dropFirst("socket:[".count).dropLast())
                if inodes.contains(inode), owners[inode] == nil { owners[inode] = process }
            }
        }
        return owners
    }
}
