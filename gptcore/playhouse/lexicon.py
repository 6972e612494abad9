"""The words of the Playhouse. Within a list no word begins another one, so that each can be read in one way only."""
import re
from collections.abc import Iterable

from .engine import Options

__all__ = ["DESCRIBED", "NAMES", "NUMBERS", "PRONOUNS", "REGULAR", "RHYME_GROUP", "WORDS", "with_article"]


def words(text: str) -> Options:
    return Options(text.split())


def phrases(text: str) -> Options:
    return Options(" ".join(phrase.split()) for phrase in text.split(","))


def with_article(options: Iterable[str]) -> list[str]:
    """Each word with its article before it: `an owl`, `a unicorn`."""
    return [("an " if re.match("[aeio]|u(?!ni|su|se|to)|heir|hour|honest", word) else "a ") + word for word in options]


SAME_PLURAL = set("bison carp deer elk mackerel moose quail reindeer salmon sheep shrimp squid sturgeon swine trout".split())


def takes_plain_s(word: str) -> bool:
    """Whether a final -s alone makes the plural of this noun, or the third person of this verb."""
    return word not in SAME_PLURAL and not re.search(
        r"(s|x|z|ch|sh|[^aeiou]y|[^aeiou]o|fe?|man|mouse|louse|goose)$", word)


WOMEN = """Ada Bea Cleo Dot Eve Fay Gwen Hope Ida Joan Kit Lou May Nan Opal Peg Queenie Rosa Sue Tess Una Vera Wendy
    Zoe""".split()
MEN = """Abe Ben Cecil Dan Earl Finn Gus Hal Ike Jack Kurt Leo Max Ned Otto Pip Ralph Sam Tom Ugo Vic Walt Yves
    Zeb""".split()
NAMES = Options(WOMEN + MEN)
PRONOUNS = {name: ("she", "her") for name in WOMEN} | {name: ("he", "his") for name in MEN}

NUMBERS = words("one two three four five six seven eight nine")

WORDS = {  # slot of a template -> the words that fill it
    "role": words("""abbot acrobat actor actress admiral agent alchemist ambassador apprentice archer artist
        astronomer auctioneer baker banker barber baron beekeeper beggar bishop boxer bride burglar butcher butler
        captain carpenter chaplain chauffeur clerk clockmaker clown coachman cobbler colonel composer cook countess
        cowboy critic dancer dean dentist detective diver doctor dragon druid duchess duke editor elf emperor engineer
        explorer fairy farmer ferryman fiddler fireman fisherman florist gardener general ghost giant gnome governor
        grocer guest hatmaker heiress herald hermit hero highwayman hunter innkeeper inventor jester jeweller judge
        juggler juror king knight lawyer librarian lifeguard locksmith lord magician maid major mayor mechanic
        merchant mermaid miller mindreader miner minister monarch monk musician nanny nun nurse optician organist
        orphan outlaw page painter patient pedlar pickpocket pilot pirate plumber poet postman potter prince professor
        prophet puppeteer queen ratcatcher rival robber sailor saint scarecrow scholar sculptor secretary senator
        shepherd sheriff smuggler soldier soprano sorcerer spy squire steward stranger student sultan surgeon
        swordsman tailor teacher tenor thief tourist troll tutor tyrant umpire undertaker usher vampire vicar viking
        villain visitor waiter warden watchman weaver widow witch wizard wrestler zookeeper"""),
    "animal": words("""albatross alligator ant ape armadillo asp baboon badger barnacle bat bear beaver bee bison boar
        buffalo bug bull butterfly calf camel canary carp cat centipede chameleon cheetah chicken cobra cockroach
        condor cow crab crane cricket crocodile crow cuckoo deer dodo dog dolphin donkey dormouse dove dragon drake
        duck eagle earwig eel eland elephant elk emu ermine falcon fawn ferret flamingo flea fox frog gazelle gecko
        gerbil gibbon giraffe gnat goat goldfish goose gorilla greyhound gull hamster hare hawk hedgehog hen heron hog
        hornet horse hound hyena ibex ibis iguana insect jackal jackdaw jaguar jellyfish kangaroo kitten kiwi koala
        lamb lark leech lemming lemur leopard linnet lion lizard llama lobster locust louse lynx macaw mackerel maggot
        magpie mammoth mare marmot mink minnow mole mongoose monkey moose mosquito moth mouse mule newt ocelot octopus
        oriole osprey ostrich otter owl ox panther parrot peacock pelican penguin pheasant pig pike platypus pony
        poodle porcupine porpoise prawn puffin pug python quail rabbit raccoon ram rat raven reindeer robin rooster
        salmon scorpion seagull seal shark sheep shrew shrimp skunk sloth slug snail snake spaniel sparrow spider
        squid squirrel stag starling stingray stoat stork sturgeon swallow swan swift swine tadpole tapir tarantula
        termite tern terrier thrush tick tiger toad tortoise trout tuna turkey turtle unicorn viper vixen vole vulture
        walrus warthog wasp weasel whale wolf wombat worm wren yak zebra"""),
    "relative": words("""ancestor aunt brother butler cat cousin daughter dentist doctor father fiancee gardener
        godmother godson governess grandfather grandson great-aunt heir husband landlady lawyer lodger mother nanny
        neighbour nephew niece nurse parrot sister stepfather stepmother suitor tailor teacher tutor twin uncle valet
        wife"""),
    "nature": words("""angry anxious awkward bald bankrupt barefoot bashful bitter blunt boastful bold bored brave
        brisk busy calm careless cautious charming cheeky cheerful clever clumsy cold confused crafty cross cruel
        curious daft dashing devious dizzy dreamy drowsy dull eager elegant envious famous fearless fickle fierce fond
        frail frank friendly furious gallant generous gentle giddy giggling gloomy glum graceful grave greedy grim
        gruff grumpy guilty hairy happy hardy harmless hasty haunted helpful homesick honest hopeful hostile humble
        humorous hungry icy idle immortal innocent itchy jealous jolly keen kind lanky lazy learned limping lonely
        loud lovesick loyal lucky mad mean meek merciful merry mild miserly modest moody muddled musical naive neat
        needy nervous nimble noble nosy obedient odd orderly pale placid plump polite pompous poor portly prim proud
        prudent quaint quick quiet rash reckless restless retired rich romantic royal rude ruthless sad scheming
        seasick serious severe shy sickly silent silly sincere sleepy slim slow sly smug sneezing snobbish sober
        solemn sore sour spiteful stern stout strict strong stubborn sullen sunburnt surly sweet tactful tall tame
        tender tense thirsty tidy timid tipsy tired touchy tough tragic trusty ugly uneasy unlucky unwashed upright
        upset vague vain vengeful violent vulgar warm wary weak weary weird wicked wild wise witty worried young
        zealous"""),
    "thing": words("""abacus accordion album almanac amulet anchor apron armchair arrow astrolabe atlas axe bag
        balloon banjo banner barometer barrel basket bathtub bead beehive bell belt bench bicycle blanket bomb bonnet
        book boot bottle bowl box bracelet brick bridle broom brush bucket bugle bust button cage calendar camera
        candle cane cannon cap card carpet cart cask catapult cello chain chair chart clarinet cloak clock club coat
        coffin coin collar comb compass cork corset costume couch cradle crate crayon crown crutch crystal cup curtain
        cushion cymbal dagger dart desk diamond diary dish doll door dress drum dynamo easel emerald engine envelope
        fan feather fiddle flag flask flute fork fossil fountain frame frock fuse garland gate gem globe glove goblet
        gong guitar hairbrush halo hammer hammock handbag handcuff harp hat helmet hinge hook horn hose hourglass idol
        inkwell iron jacket jar jug kettle key kilt kite knife knot ladder lamp lantern letter lever lock lorry lute
        magnet mallet mandolin mantle map marble mask mast match mattress medal menu mill mirror mitten monocle mop
        mousetrap moustache mug nail napkin necklace needle net newspaper notebook oar organ overcoat paddle padlock
        pan parachute parasol parcel passport pencil pendulum periscope petticoat piano pickaxe pillow pin pipe pistol
        plank plate plough portrait pot prism propeller pulley puppet purse puzzle quill quilt racket raft rake razor
        ribbon rifle ring robe rocket rope rug ruler saddle sail sandal satchel saxophone scarf sceptre scroll seal
        shawl shield ship shirt shoe shovel sieve skate skeleton skirt skull sled sleigh slipper snuffbox sock sofa
        spade spear spinet sponge spoon spring spyglass stamp statue stool stove suitcase sundial sweater sword
        syringe table tapestry teapot telescope tent thimble throne tiara ticket tie toolbox top torch towel toy trap
        tray tricycle trolley trombone trophy trumpet truncheon trunk tuba turban umbrella urn vacuum vase veil violet
        violin wagon wallet wand wardrobe watch wheel whip whisk whistle wig wreath xylophone yacht yoyo zither"""),
    "furniture": words("""altar aquarium arch balcony bandstand bathtub bed bench bonfire bookcase bridge buffet bush
        cabinet carriage chimney compost counter cupboard dais desk ditch doorway drain drawbridge dresser easel fence
        ferry fireplace fishpond flowerbed font fountain gate grave gutter hammock harp haystack hearth hedge icebox
        jukebox kennel kettle ladder lamppost larder lectern letterbox lifeboat loom manger mast maypole moat nest
        oven pantry pedestal piano pigsty pillar pillory platform podium pond pulpit pyre quay railing ramp roof rug
        safe scaffold shed shelf signpost sink skylight sofa staircase stove sundial swamp table tapestry throne tomb
        tree trench trough tub tunnel turret vat wardrobe washstand waterfall well windmill window woodpile"""),
    "look": words("""amber ancient antique bare basic battered bent big black blank bleached blue blunt borrowed brass
        bright brittle broken bronze brown bulging buried burning carved charred cheap chipped chrome clean coarse
        cold compact copper costly cracked creased crimson crisp crooked crude crumpled curly cursed damaged damp dark
        deep delicate dented dim dirty doubtful dry dull dusty edible elastic elderly electric empty engraved enormous
        faded familiar famous fat fearsome fine flat fluffy folding foreign fragile frayed fresh frilly frozen fuzzy
        genuine ghostly gilded glass gleaming glossy glowing golden grand greasy green grey grubby hairless hairy
        handsome heavenly heavy hideous historic hollow hot huge humming illegal imported indigo ivory jagged jewelled
        knitted large leaking leather light limp linen little long loose lopsided lost loud lucky lumpy massive mauve
        mended mild missing mossy mouldy mournful muddy murky mystic nameless narrow neat new noisy oak oblong odd
        oily old ominous open orange ordinary orphaned oval padded painted pale paper patched pearly peculiar perfect
        perfumed pickled plain pleated pocket pointed polished portable precious prickly private purple quaint ragged
        rare rattling raw red rented replica ripped rotten rough round royal rubber ruined rusty sacred salty scented
        scorched second secret shabby sharp shiny short silent silken silver singing sinister slim small smart smelly
        smoking smooth smuggled snapped soft soggy solid spare spectral spiky splendid spotted square squeaky stained
        starched steel sticky stiff stinking stolen stone strange stray striped stuffed swinging tall tangled tapered
        tattered tattooed thick thin tight timeless tinted tiny torn tough toxic tropical trusty twisted ugly unlucky
        unpaid unsigned useless vague valuable vast velvet vintage vivid warm warped wet white wicker wide wild
        withered wobbly wooden woollen worn wrinkled wrong yellow"""),
    "food": words("""ale apricots asparagus bacon bagels bananas barley basil beans beef beer beetroot biscuits bran
        bread brine broccoli broth buns burgers butter cabbage cakes capers caramel carrots caviar celery cereal
        cheese cherries chestnuts chicory chillis chips chives chocolate chop chutney cider cinnamon clams cocoa
        coconuts cod coffee cookies corn crabs crackers cream cress crumpets cucumbers curry custard dates doughnuts
        ducks dumplings eels eggs fennel figs flan flour fritters fruitcake fudge gammon garlic gherkins gin goulash
        grapes gravy gruel haddock ham hash hazelnuts herrings honey hotpot ice icing jam jelly kale kebabs kidneys
        kippers lamb lard lasagne leeks lemons lentils lettuce limes liquorice liver lobsters macaroni malt mangoes
        marmalade marrows marzipan meatballs melons meringues milk mince mint mocha muffins mushrooms mussels mustard
        mutton noodles nougat nutmeg oat oil olives omelettes onions oranges oregano oysters pancakes paprika parsley
        parsnips pasta pastry peas pecans pepper pickle pies pilchards pineapples plums pork porridge potatoes prunes
        pudding pumpkins punch quiche quinces radishes raisins raspberries ravioli relish rhubarb rice rolls rum rye
        saffron sago salad salami salmon salt sauce sausages scampi scones seaweed sesame shandy sherbet sorbet sorrel
        soup soy spinach sprouts squash steak stew stilton stock strudel stuffing suet sugar sushi swedes syrup
        tapioca tarts tea thyme toast toffee tofu tomatoes treacle trifle tripe trout truffles tuna turnips veal
        vinegar vodka wafers waffles walnuts water whelks whisky wine yams yeast yoghurt"""),
    "snack": words("""almond bun cookie crumpet date dumpling egg fig gherkin hazelnut kipper lemon meringue muffin
        olive orange oyster pancake pear pickle plum pretzel radish sausage scone tart truffle turnip waffle
        walnut"""),
    "taste": words("""baked bitter blue boiled burnt candied cheap cold crisp crunchy cured curried dried fermented
        floating fresh fried frozen grated green grilled ground hairy hot leftover lukewarm luxury mashed melted
        mouldy old overripe peeled poached poisoned rancid raw roast rotten scrambled secret shredded sliced smoked
        soft sour spiced spicy stale steamed sticky stolen stuffed sweet tasteless tinned vintage warm whipped
        wild"""),
    "fault": words("""absence accident adventure age alarm algebra alimony ambition anarchy anger anguish applause
        arrogance art ash baldness beauty betrayal blackmail bliss blood boredom bravery bribery calm caution ceremony
        chaos charity charm chivalry comfort confusion courage courtesy cowardice crime cruelty curiosity dancing
        danger darkness daylight debt deceit decency defeat delay delight despair destiny dignity disaster disgrace
        doom doubt drama dread drizzle dust duty ecstasy elegance energy envy etiquette evil exile failure fame
        fashion fate fatigue fear fever fiction flattery fog folly forgery fortune freedom frost fury genius geometry
        glory gluttony gossip gout grammar gratitude gravity greed grief guilt habit happiness harmony hatred health
        history holiness homework honesty honour hope horror hunger hypocrisy idleness ignorance ink innocence
        insomnia irony itching jealousy joy justice kindness kissing lateness laughter law laziness legend leisure
        lightning logic longing love loyalty luck madness magic malice marriage melody memory mercy mischief modesty
        moonlight moonshine moustache mud music mutiny mystery nature nausea necessity night noise nonsense nostalgia
        obedience opera optimism order pain panic passion patience peace perfume pity plague pleasure poetry politics
        porridge poverty power praise prayer pride prison privacy progress prophecy prose prudence rage rain reason
        rebellion reform regret religion remorse rent respect revenge rhetoric rhyme riddle ridicule romance ruin
        rumour rust sadness sand sarcasm satire scandal science secrecy shame shyness silence sin slander sleep sloth
        smoke snobbery snoring solitude song soot sorrow spelling spite spring steam strategy style success suffering
        summer sunshine surprise suspense swindle syntax tact talent tennis theft thirst thrift thunder time tobacco
        toothache tradition tragedy treason triumph trouble truth tyranny utopia vanity victory vinegar virtue war
        weakness wealth weather whisky winter wisdom wit woe work worry wrath yearning youth zeal"""),
    "act": words("""age applaud argue arrive awake bake ban bark bathe beckon beg behave bellow bend bleat bleed blink
        bluff blush boast boil bounce bow brag break breathe brood bubble buckle burn burp burrow buzz cackle change
        chant chat cheat cheer chew chirp chuckle climb cling collapse compete complain compose confess conspire coo
        cough count cower crawl creep croak cry curtsey dabble dance dangle dash dawdle daydream decline deny despair
        dine disagree disobey dither dive doodle doubt doze dream dribble drift drink droop drop drum escape expand
        explode fade fail faint fall fast fear fester fiddle fidget flap flee flicker flinch flirt float flounder flow
        fly forget freeze fret frown fumble fume gabble gallop gamble gape gargle gasp gaze giggle glare gloat glow
        gnaw gossip grieve grin groan grovel grow grumble grunt haggle hesitate hiccup hide hoot hop howl hum hunt
        hurry idle insist itch jabber jig jog joke juggle jump kick kneel knit knock land laugh lecture lie limp
        linger lisp listen loiter look lose lounge lurk march marvel meander meditate melt meow mime moan moo mope
        mourn mumble munch mutter nag nap natter nibble nod obey object ooze pace paddle paint panic pant parade pause
        peck peep perform perspire play plead plot ponder pop pose pout prance pray preen pretend protest prowl puff
        purr quack quake quarrel quiver rage ramble rant rattle reappear rebel recite reflect refuse rejoice relax
        repent rest retire retreat return rhyme riot rise roam roar rot rule rumble run sag sail saunter scoff scowl
        scramble scratch scream scribble scurry shake shimmer shine shiver shout shrink shrug shudder shuffle sigh
        simper sin sit sizzle skate sketch skid skip sleep slip slither slouch slump smile smirk smoke smoulder
        smuggle snarl sneak sneer snigger snivel snore snort snuffle soar sob speak spin splutter squabble squawk
        squeak squint squirm stagger stammer stamp stare starve steal stink stir stoop strum strut study stumble
        stutter suffer sulk sunbathe swagger swallow sway swear sweat swim swindle swing swoon talk tango taunt tease
        thrive tickle tiptoe tire topple travel tremble trot trudge tumble twinkle twirl twitch unwind vanish vibrate
        visit vote waddle wail wait wake walk waltz wander wave weep wheeze whimper whine whirl whisper whistle wilt
        win wither wobble wonder work worry wriggle write yawn yell yodel"""),
    "verb": words("""accuse admire adopt alarm amuse annoy appease arrest assist auction avoid award bake bathe
        befriend believe bite blame bless boil borrow bother bribe bully bury butter buy call calm carry catch charm
        chase cheat cheer choke chop clean coach comb comfort consult cook copy count crown cure curse cut dazzle
        deceive decorate delight deliver describe despise destroy detain disarm dismiss distract divorce double doubt
        drag draw dress drop dust eat educate employ enjoy envy escort examine expose fan fear feed fetch fight find
        fire flatter follow fool forget forgive free frighten fry gild glue grate greet grill grind guard guide hate
        haunt heal help hide hire hit hug hurry ignore imitate impress inflate inform insult invent invite iron jail
        join judge juggle keep kick kiss knit label launch lead lend lick like lock lose love lure marinate marry
        measure meet melt mend milk mock mourn name need nurse obey observe offend oil operate paint pamper pardon
        pawn pay pickle pinch pity plant please pluck pocket poison polish post pour praise preserve print promote
        provoke pull puncture punish push quote race reassure recruit recycle refuse regret rehearse reject remember
        rent repair replace report rescue respect reward roast rob ruin rule sack salute sand save scold scrub search
        see sell send serve sew shake share shave shear shock shrink silence sketch smack smash smell smuggle snub
        soak spare spoil spot sprinkle squash squeeze startle starve steal stop stroke stuff stun sue support surprise
        surround suspect swallow sweep swindle tame tax teach tease test thank throw tickle tie toast torment toss
        touch track trade train trap treat trick trip trust unwrap upset value visit wake warm warn wash watch water
        weigh welcome widen win worry worship wrap wrestle yoke"""),
    "did": words("""accused admired adopted advised alarmed amused annoyed arrested assisted avoided awarded banished
        bathed battled begged believed betrayed blamed blessed boiled borrowed bought bribed brought bullied buried
        buttered called carried carved caught charmed chased cheated checked cheered choked cleaned closed coached
        combed confused cooked copied counted courted crowned cured cursed dated dazzled debated deceived defended
        despised detained disarmed divorced doubted drained dropped dyed educated elected engaged enjoyed enraged
        envied escorted examined exiled exposed fanned feared fed fetched filmed fined fired followed fooled fought
        found framed freed fried glued greeted guarded guided hated haunted healed heard helped hired hit hugged
        hunted hurried ignored imitated insulted insured invented invited ironed jailed joined judged juggled kept
        kicked kissed knighted knitted led lent licked liked lost loved lured made married measured melted mended met
        milked mimicked missed mocked mourned named needed nursed obeyed observed offended oiled outlived paid painted
        pampered pardoned passed patted pawned pickled pinched pitied plagued pleased plucked poisoned polished posted
        praised pulled punished pushed quoted raised refused rejected replaced reported rescued rewarded robbed ruined
        ruled saved scolded scrubbed searched sent served shaved shocked sketched smuggled sniffed snubbed soaked sold
        spared spoiled spotted squashed startled stopped stuffed sued tamed tattooed taught teased thanked tickled
        tied toasted touched traced tracked trained trapped tricked tripped trusted upset visited warned washed
        watched weighed welcomed won wrapped wrestled"""),
    "manner": words("""abroad absently again aloft alone aloud always angrily ardently artfully ashore asleep badly
        barefoot bitterly blandly blindly bluntly boldly bravely briefly brightly briskly broadly busily calmly
        casually cheaply cleverly closely clumsily coldly crossly cruelly daily daintily deeply dimly dismally
        divinely downhill drowsily eagerly exactly expertly faintly fairly famously fast fatally fiercely finally
        firmly flatly fluently fondly forever formally frankly freely frugally gently giddily gingerly gladly glumly
        gravely greedily grimly gruffly grumpily guiltily happily hard hastily heartily heavily hoarsely horribly
        humbly hungrily idly impishly indoors inwards jointly jovially joyfully keenly kindly lamely lavishly lazily
        lightly limply locally loosely loudly lovingly loyally luckily lustily madly meanly meekly merrily mildly
        modestly moodily morally mutely narrowly neatly nightly nobly noisily oddly offstage often openly outdoors
        overhead politely poorly primly proudly publicly quaintly quickly quietly randomly rapidly rarely rashly
        readily richly roughly royally rudely ruefully sadly savagely secretly sensibly severely sharply shrilly shyly
        sideways sillily sleepily slowly smoothly smugly snugly soberly softly solemnly somehow soundly speedily
        squarely steadily sternly stiffly strictly stupidly sulkily superbly sweetly swiftly tenderly terribly timidly
        together tomorrow tonight truly twice unaided unseen uphill upstairs urgently usefully vaguely vainly visibly
        vividly vocally warily warmly wearily weirdly well wickedly wildly wisely woefully yearly"""),
    "preposition": phrases("""above, against, ahead of, alongside, around, before, behind, below, beneath, beside,
        beyond, close to, far from, in front of, inside, near, next to, opposite, outside, over, past, under, within
        sight of"""),
    "setting": words("""abbey airship alley aquarium attic bakery balloon ballroom barn basement boathouse brewery
        butchery canoe caravan castle cathedral cave cellar cemetery circus cottage courtroom crypt dungeon elevator
        embassy factory forest garret glacier graveyard greenhouse harbour haystack hotel igloo jungle kitchen
        laboratory laundry library lighthouse maze meadow mill monastery museum nursery oasis observatory orchard
        orphanage palace pantry prison pyramid quarry sawmill shipwreck stable submarine swamp tavern tent theatre
        toyshop tunnel vineyard volcano warehouse waxworks windmill zoo"""),
    "hour": phrases("""after dark, after lunch, at breakfast, at dawn, at dusk, at high tide, at midnight, at noon, at
        sunset, before breakfast, before the flood, by candlelight, during a duel, during a parade, during a power
        cut, during an eclipse, during the harvest, during the strike, in a blizzard, in a thunderstorm, in early
        spring, in late autumn, in winter, on a holiday, on market day"""),
    "day": words("""Friday Monday Saturday Sunday Thursday Tuesday Wednesday"""),
    "weather": words("""arctic balmy bitter bleak blustery breezy bright brisk changeable chilly clear cloudy cold
        cool crisp damp dark delightful dismal dreadful drizzly dry dusty foggy freezing frosty gloomy glorious grey
        hazy horrid hot humid icy mild miserable misty moonlit muggy overcast perfect pleasant rainy scorching snowy
        soggy spring-like squally starless still stormy sunny sweltering thundery tropical warm wet windy wintry"""),
    "genre": words("""ballad burlesque chronicle comedy dance duel fable fantasy farce melodrama mystery nightmare
        pageant parable parody prank puzzle quarrel revue ritual romance romp satire scandal sermon spectacle thriller
        tragedy tragicomedy"""),
}
DESCRIBED = {"setting": "look", "thing": "look", "furniture": "look", "animal": "nature", "role": "nature",
             "being": "nature", "food": "taste"}  # which adjectives describe it
BEINGS = sorted({*WORDS["role"], *WORDS["animal"]})
WORDS["being"] = Options(word for word, before in zip(BEINGS, ["?", *BEINGS]) if not word.startswith(before))
REGULAR = {name: [word for word in WORDS[name] if takes_plain_s(word)]
           for name in ("thing", "animal", "snack", "act", "role", "being", "verb")}

RHYME_GROUPS = [group.split() for group in """
    acrobat bat cat doormat hat mat rat | aisle mile pile smile stile tile | axe fax sax tax wax | ballet bay clay hay
    sleigh spray tray | baboon balloon bassoon lagoon moon raccoon spoon tune | ball hall shawl squall stall wall
    waterfall | band gland hand land sand | bar car cigar czar guitar jar star | batter chatter hatter matter platter
    | beam cream dream ice-cream steam stream | bean machine queen scene screen submarine tambourine | bear chair hair
    heir mare pear prayer stair | bed bread gingerbread head shed sled thread | bee flea key knee pea quay sea tea
    tree | beer ear gear pier spear tear | beet fleet parakeet seat sheet street suite | bell cell hotel shell smell
    spell well | bill hill mill pill till windmill | bin chin gin pin tin violin | bird curd herd third word | blade
    lemonade marmalade parade spade shade | blouse grouse house mouse | boat coat goat moat note throat vote | bone
    cone phone stone throne trombone | book brook cook crook hook nook rook | bough brow cow plough vow | bow crow
    dough foe hoe snow toe | box fox ox paradox | brain chain crane drain lane plane rain train | breeze cheese freeze
    sneeze trapeze | brick candlestick chick stick trick wick | bride guide hide ride tide | bud flood mud stud thud |
    bug jug mug rug slug | bun gun nun pun sun | bunk monk skunk trunk | bust crust dust gust | butter gutter mutter
    shutter | cage page rage stage | cake lake rake snake steak | candle handle sandal scandal vandal | canoe cockatoo
    glue kangaroo shoe stew zoo | carnation donation relation station | cellar propeller teller umbrella | chest guest
    nest pest quest vest | chip lip ship tip trip whip | claw jaw law paw saw straw | clock dock flock frock lock rock
    sock | clown crown gown noun town | corn horn thorn unicorn | cot knot plot pot spot yacht | course force horse
    sauce source | court fort port quart sport | crumb drum plum thumb | curl earl girl pearl | debtor letter setter
    sweater | den hen pen wren | dessert dirt flirt shirt skirt | dice ice price spice vice | door floor oar shore
    store war | duck luck muck puck truck | eel heel meal seal wheel | face lace place race staircase | fiddle griddle
    middle riddle | fight kite knight light night sight | flower hour shower tower | fool mule pool school stool |
    grave slave wave shave | ground hound mound pound sound | heap jeep leap sheep | hope pope rope soap telescope |
    hump lump pump stump | jail nail pail sail snail tail whale | jelly belly telly | king ring spring string swing
    wing | kitten mitten | line mine pine porcupine shrine sign vine wine | nose prose rose hose | otter daughter
    water | table fable stable | thunder blunder plunder
""".split("|")]
RHYME_GROUP = {word: group for group in RHYME_GROUPS for word in group}
