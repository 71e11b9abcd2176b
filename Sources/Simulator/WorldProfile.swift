internal import Basics

/// What worlds go through, by the name that a person gives.
package enum WorldProfile: String, CaseIterable, Sendable {
    /// Reads, writes and transactions.
    case `default`
    /// The same, while an operator changes the members all the time.
    case membership
    /// Half of what clients do is about elections and locks, and some of them watch.
    case clients
    /// Connections, clocks and processes fail, often; disks do not.
    case network
    /// Disks and processes fail, often; the network does not.
    case storage
    /// Each seed draws what its world goes through: any mixture of the others but `releases` and `registry`.
    case swarm
    /// As `clients`, and the whole cluster is restored from a snapshot that was taken meanwhile.
    case restore
    /// As `clients`, and nodes take few requests and few clients at a time.
    case limits
    /// As `clients`, and some nodes run an old release until they are upgraded.
    case releases
    /// Masters keep their registry: they fail and come back, and so do agents and frameworks.
    case registry

    /// Not a profile of its own: each seed has the next of them.
    package static let all = "all"
    package static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }

    package var settings: WorldSettings {
        var settings = WorldSettings()
        switch self {
        case .default: break
        case .membership: settings.changesMembers = true
        case .clients:
            settings.coordinates = true
            settings.watchCount = 4
            settings.observerCount = 4
        case .network: settings.focus = .network
        case .storage: settings.focus = .storage
        case .swarm: settings.isSwarm = true
        case .restore:
            settings.restores = true
            settings.coordinates = true
            settings.watchCount = 3
            settings.observerCount = 2
        case .releases:
            settings.mixesReleases = true
            settings.coordinates = true
        case .limits:
            settings.hasTinyLimits = true
            settings.coordinates = true
            settings.watchCount = 6
        case .registry: settings.hasRegistry = true
        }
        return settings
    }
}
