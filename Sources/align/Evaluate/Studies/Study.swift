import Evaluations

/// A claim put to the test in the planted world: how one seed is run. Measures and plot are `Evaluations`'; the plan has the numbers.
protocol Study {
    static var name: String { get }
    init(_ plan: StudyPlan) throws
    /// Size and variant of the world that it runs in.
    var world: WorldPlan { get }
    /// Arms in the order in which they run; each is kept once it is done, so that an interrupted study goes on with the next.
    func arms() throws -> [String]
    func run(_ arm: String, in workshop: StudyWorkshop) async throws -> [StudyLine]
    func report(_ lines: [StudyLine]) -> StudyReport
}

/// The studies: one line each.
enum Studies {
    static var all: [any Study.Type] {
        [
            BestOfNStudy.self,
            OverOptimisationStudy.self,
            MirrorDescentStudy.self,
        ]
    }
}

/// The world that a study runs in.
struct WorldPlan {
    var variant: PlantedWorld.Variant
    var size: PlantedWorld.Size
    /// Documents that the start model is trained on.
    var documents: Int
    /// Of its training; nil: what its size asks for.
    var startSteps: Int?
    /// Passes of a reward model over its pairs.
    var rewardEpochs: Double
    /// Prompts and samples of each, from the start model.
    var pool: (prompts: Int, samples: Int)

    init(_ plan: StudyPlan) throws {
        variant = try plan.word("variant")
        size = try plan.word("size")
        documents = try plan.integer("documents")
        startSteps = plan.has("start_steps") ? try plan.integer("start_steps") : nil
        rewardEpochs = try plan.number("reward_epochs")
        let pool = try plan.part("pool")
        self.pool = (try pool.integer("prompts"), try pool.integer("samples"))
    }
}
