internal import Basics
internal import Server

/// Every setting of `serve`, by the one name that it has as a flag (`--segment-size`), as a variable of the environment
/// (`QUORATE_SEGMENT_SIZE`) and in the configuration file (`segment-size`).
enum ServeSetting: String, CaseIterable {
    case name, data, client, peer, http, cluster, join, engine, insecure
    case httpInsecure = "http-insecure"
    case tlsCert = "tls-cert"
    case tlsKey = "tls-key"
    case tlsCA = "tls-ca"
    case advertiseClient = "advertise-client"
    case advertisePeer = "advertise-peer"
    case heartbeatInterval = "heartbeat-interval"
    case electionTimeout = "election-timeout"
    case diskStallTimeout = "disk-stall-timeout"
    case segmentSize = "segment-size"
    case logMax = "log-max"
    case feedSize = "feed-size"
    case feedAge = "feed-age"
    case diskReserve = "disk-reserve"
    case scrubPeriod = "scrub-period"
    case scrubRate = "scrub-rate"
    case valueSizeMax = "value-size-max"
    case connectionsMax = "connections-max"
    case connectionsPerAddress = "connections-per-address"
    case logLevel = "log-level"
    case logFormat = "log-format"

    var flag: String { "--\(rawValue)" }
    var variable: String { "QUORATE_" + String(rawValue.uppercased().map { $0 == "-" ? "_" : $0 }) }
}

/// The settings that were given, each with the place that it came from, so that an error can say where to look.
struct ServeSettings {
    struct Given: Hashable {
        var text: String
        var source: String
    }

    private(set) var given: [ServeSetting: Given] = [:]

    /// Lays values over those that are there already: file first, then environment, then flags.
    mutating func overlay(_ values: [ServeSetting: Given]) { given.merge(values) { $1 } }

    static func environment(_ lookup: (String) -> String?) -> [ServeSetting: Given] {
        var values: [ServeSetting: Given] = [:]
        for setting in ServeSetting.allCases {
            guard let text = lookup(setting.variable), !text.isEmpty else { continue }
            values[setting] = Given(text: text, source: setting.variable)
        }
        return values
    }

    func configuration() throws(CommandError) -> ServerConfiguration {
        var configuration = ServerConfiguration(
            name: try required(.name).text, dataDirectory: try required(.data).text,
            clientListen: try address(required(.client)), peerListen: try address(required(.peer)))
        configuration.httpListen = try optional(.http, address)
        configuration.clientAdvertise = try optional(.advertiseClient, address)
        configuration.peerAdvertise = try optional(.advertisePeer, address)
        configuration.cluster = try optional(.cluster, cluster) ?? []
        configuration.join = try optional(.join, addresses) ?? []
        if let engine = try optional(.engine, choice(ServerConfiguration.Engine.self)) { configuration.engine = engine }
        if let level = try optional(.logLevel, choice(ServerConfiguration.LogLevel.self)) {
            configuration.logLevel = level
        }
        if let format = try optional(.logFormat, choice(ServerConfiguration.LogFormat.self)) {
            configuration.logFormat = format
        }
        if let isInsecure = try optional(.insecure, truth) { configuration.isInsecure = isInsecure }
        if let isInsecure = try optional(.httpInsecure, truth) { configuration.isHTTPInsecure = isInsecure }
        configuration.tls = try TLSFiles.given(
            certificate: given[.tlsCert]?.text, key: given[.tlsKey]?.text, authority: given[.tlsCA]?.text)
        if let interval = try optional(.heartbeatInterval, time) { configuration.heartbeatInterval = interval }
        if let (low, high) = try optional(.electionTimeout, timeRange) {
            configuration.electionTimeoutMin = low
            configuration.electionTimeoutMax = high
        }
        if let interval = try optional(.diskStallTimeout, time) { configuration.diskStallTimeout = interval }
        if let size = try optional(.segmentSize, size) { configuration.segmentSize = size }
        if let size = try optional(.logMax, size) { configuration.logSizeMax = size }
        if let size = try optional(.feedSize, size) { configuration.feedSize = size }
        if let age = try optional(.feedAge, time) { configuration.feedAge = age }
        if let size = try optional(.diskReserve, size) { configuration.diskReserve = size }
        if let period = try optional(.scrubPeriod, time) { configuration.scrubPeriod = period }
        if let rate = try optional(.scrubRate, size) { configuration.scrubRate = rate }
        if let size = try optional(.valueSizeMax, size) { configuration.valueSizeMax = size }
        if let count = try optional(.connectionsMax, count) {
            configuration.connectionsMax = count
            configuration.connectionsPerAddressMax = min(configuration.connectionsPerAddressMax, count)
        }
        if let count = try optional(.connectionsPerAddress, count) { configuration.connectionsPerAddressMax = count }
        do {
            try configuration.validate()
        } catch {
            throw .usage(error.message)
        }
        return configuration
    }

    // MARK: Reading one value

    private func required(_ setting: ServeSetting) throws(CommandError) -> Given {
        guard let value = given[setting] else {
            throw .usage(
                "\(setting.flag) is missing (or \(setting.variable), or \(setting.rawValue) in the configuration file)")
        }
        return value
    }

    private func optional<T>(
        _ setting: ServeSetting, _ read: (Given) throws(CommandError) -> T
    ) throws(CommandError) -> T? {
        guard let value = given[setting] else { return nil }
        return try read(value)
    }

    private func wrong(_ value: Given, _ expected: String) -> CommandError {
        .usage("\(value.source): \"\(value.text)\" is not \(expected)")
    }

    private func address(_ value: Given) throws(CommandError) -> HostPort {
        guard let address = HostPort(value.text) else { throw wrong(value, "HOST:PORT, as in 127.0.0.1:7400") }
        return address
    }

    private func addresses(_ value: Given) throws(CommandError) -> [HostPort] {
        var addresses: [HostPort] = []
        for part in value.text.split(separator: ",") {
            guard let address = HostPort(part.filter { !$0.isWhitespace }), address.port != 0 else {
                throw wrong(value, "HOST:PORT,HOST:PORT,… with peer addresses of members")
            }
            addresses.append(address)
        }
        return addresses
    }

    func cluster(_ value: Given) throws(CommandError) -> [ServerConfiguration.Founder] {
        var founders: [ServerConfiguration.Founder] = []
        for part in value.text.split(separator: ",") {
            let pair = part.filter { !$0.isWhitespace }.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, let address = HostPort(String(pair[1])), address.port != 0 else {
                throw wrong(value, "NAME=HOST:PORT,NAME=HOST:PORT,… with the peer address of every node")
            }
            founders.append(ServerConfiguration.Founder(name: String(pair[0]), address: address))
        }
        return founders
    }

    private func choice<T: RawRepresentable & CaseIterable>(
        _ type: T.Type
    ) -> (Given) throws(CommandError) -> T where T.RawValue == String {
        { (value: Given) throws(CommandError) -> T in
            guard let choice = T(rawValue: value.text) else {
                throw wrong(value, "one of " + T.allCases.map(\.rawValue).joined(separator: ", "))
            }
            return choice
        }
    }

    private func truth(_ value: Given) throws(CommandError) -> Bool {
        switch value.text {
        case "true", "1", "yes": return true
        case "false", "0", "no": return false
        default: throw wrong(value, "true or false")
        }
    }

    private func time(_ value: Given) throws(CommandError) -> Interval {
        guard let time = TimeQuantity(argument: value.text) else { throw wrong(value, TimeQuantity.form) }
        return time.interval
    }

    private func timeRange(_ value: Given) throws(CommandError) -> (Interval, Interval) {
        let parts = value.text.split(separator: "-").map { TimeQuantity(argument: String($0)) }
        guard parts.count == 2, let low = parts[0], let high = parts[1] else {
            throw wrong(value, "a range of times, as in 1s-2s or 300ms-600ms")
        }
        return (low.interval, high.interval)
    }

    private func size(_ value: Given) throws(CommandError) -> Int {
        guard let size = SizeQuantity.parse(value.text) else { throw wrong(value, SizeQuantity.form) }
        return size
    }

    private func count(_ value: Given) throws(CommandError) -> Int {
        guard let count = Int(value.text), count > 0 else { throw wrong(value, "a whole number above 0") }
        return count
    }
}
