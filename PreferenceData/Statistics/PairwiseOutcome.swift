/// What one vote says of two players (models, or completions), by their numbers.
public struct PairwiseOutcome: Sendable, Equatable {
    public var first: Int
    public var second: Int
    /// 1: the first won; 0: the second; ½: neither; shares between for soft votes.
    public var result: Double
    /// Votes on one prompt (or by one person) are not independent; those of one number are resampled together.
    public var cluster: Int

    public init(_ first: Int, _ second: Int, result: Double, cluster: Int = 0) {
        self.first = first
        self.second = second
        self.result = result
        self.cluster = cluster
    }
}

/// wins[i][j]: how often i beat j, half a win each for a tie.
public struct WinTable: Sendable, Equatable {
    public var wins: [[Double]]
    public var players: Int { wins.count }

    /// - Throws: For a table that is not square, or with a count that is negative or not finite.
    public init(_ wins: [[Double]]) throws(StatisticsError) {
        for row in wins {
            guard row.count == wins.count else { throw .lengths(what: "the table's rows and columns", wins.count, row.count) }
            for value in row where !(value >= 0 && value.isFinite) { throw .outOfRange(what: "a count of wins", found: value, expected: "0 or more") }
        }
        self.wins = wins
        // Nobody plays against themselves.
        for i in wins.indices { self.wins[i][i] = 0 }
    }

    /// - Throws: For a player's number or a result out of range.
    public init(_ outcomes: some Sequence<PairwiseOutcome>, players: Int) throws(StatisticsError) {
        wins = [[Double]](repeating: [Double](repeating: 0, count: players), count: players)
        for outcome in outcomes {
            for player in [outcome.first, outcome.second] where player < 0 || player >= players {
                throw .outOfRange(what: "a player's number", found: Double(player), expected: "0 to \(players - 1)")
            }
            guard outcome.result >= 0, outcome.result <= 1 else { throw .outOfRange(what: "a result", found: outcome.result, expected: "0 to 1") }
            guard outcome.first != outcome.second else { continue }
            wins[outcome.first][outcome.second] += outcome.result
            wins[outcome.second][outcome.first] += 1 - outcome.result
        }
    }

    /// Share of points of a player's games: (wins + ½ ties)/games; nil without a game.
    public func winRate(_ player: Int) -> Double? {
        let won = wins[player].reduce(0, +)
        let games = won + wins.indices.reduce(0) { $0 + wins[$1][player] }
        return games > 0 ? won / games : nil
    }

    public var games: Double { wins.joined().reduce(0, +) }

    /// Players among whom wins lead both ways, directly or through others (strong components); in order of their first player.
    /// One component: every strength is finite (Ford 1957).
    public var components: [[Int]] {
        let forward = reachable { wins[$0][$1] > 0 }
        var seen = Set<Int>(), result: [[Int]] = []
        for i in wins.indices where !seen.contains(i) {
            let group = wins.indices.filter { $0 == i || (forward[i][$0] && forward[$0][i]) }
            seen.formUnion(group)
            result.append(group)
        }
        return result
    }

    /// Groups of players with any game between them, directly or through others.
    public var groups: [[Int]] {
        let met = reachable { wins[$0][$1] > 0 || wins[$1][$0] > 0 }
        var seen = Set<Int>(), result: [[Int]] = []
        for i in wins.indices where !seen.contains(i) {
            let group = wins.indices.filter { $0 == i || met[i][$0] }
            seen.formUnion(group)
            result.append(group)
        }
        return result
    }

    private func reachable(_ edge: (Int, Int) -> Bool) -> [[Bool]] {
        wins.indices.map { start in
            var seen = [Bool](repeating: false, count: players), open = [start]
            while let i = open.popLast() {
                for j in wins.indices where !seen[j] && edge(i, j) {
                    seen[j] = true
                    open.append(j)
                }
            }
            return seen
        }
    }
}
