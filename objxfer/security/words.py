"""The words that codes are made of: chosen for being spoken, by people, over a bad line.

1,024 common English words of four to eight letters. No two begin with the same four letters, so
a word may be cut to these; no two are alike in spelling (they are three letters apart or more)
or in sound. Left out is what sounds like a common word that is not here, what is spelled otherwise
elsewhere, numbers, and what offends.
The order is that of the alphabet; it has no meaning.
"""

from __future__ import annotations

from typing import Final

WORDS: Final = tuple(
    """
abacus academy acid acorn acrobat adobe airport album alcove algebra allspice almanac alpaca
alphabet alpine amazing amber ambition amethyst amulet ancestor anchovy android animal antenna
antler anvil apple apricot aquarium aqueduct arctic arena armchair artist aspen asteroid athlete
atlas atom atrium audio aurora author autumn avatar avenue avocado azure bachelor backpack
badger bagpipe bakery balance balcony balloon bamboo banana banjo banquet barefoot bargain
barley barnacle baseball bassinet bathtub beacon beagle bedroom beehive beginner belfry beyond
birch birthday biscuit bison bistro blanket blender blossom blouse bluebird bobcat bobsled
bonfire bonus bookcase border bounce bracelet bramble branch brick brioche broccoli bronze broth
browser bucket buffalo builder bulb bullfrog bungalow bunny burlap bushel button buzzer cabbage
cabin cactus calcium calendar calico calypso camera campfire canopy canteen canvas canyon
capsize captain caravan cardigan carefree cargo carnival carousel cartoon cascade cashew castle
caviar cellist century ceramic chalk champion channel chapter charcoal cheddar cheetah chemist
chestnut chicken chimney china chipmunk chisel chorus chrome churn cilantro cinema cinnamon
circus citadel citizen clarinet clavicle clay cliff climate clinic clock clover cluster cobalt
cobweb coconut codfish coffee colossal column comedy comfort comic compass concert condor
confetti copilot copper cosmos costume cottage couple cowboy coyote crane crescent crimson
crochet crowd cruiser crutch crystal cube cubicle cuckoo cucumber cuisine cupboard cupcake
curator curly cushion custard cutlery cylinder daffodil dairy darkroom dawn daylight deadline
decimal deck delicate delta denim dentist dewdrop diagram dial diamond diesel dignity dimple
dinosaur diplomat doctor dollar dolphin domino donate doorbell downtown dragon dramatic drapery
dreamer dress drift driver drizzle drum dugout dumpling dynamo eastern echo eclipse ecology
editor eggplant eggshell elastic elbow electric element elephant elevator embassy emblem emerald
emporium energy engine entrance envelope epilogue episode equator equinox eraser espresso essay
estate evening exchange expire eyebrow fable fabric factory falafel family famous fanfare
fantasy farewell faucet feature ferret festival fiction fidelity fiesta figure filbert finish
firefly firm fitness flagpole flamingo flaxen fleece flicker flint floor florist flounder fluffy
flute foggy foghorn football forecast forklift formula fortune fossil fountain foxglove fragile
freckle freedom freight fresco friend frigate fringe frisbee frog frolic frontier frosting
fullback furlong fuzzy galaxy gallant galore gaming gangway garage gardener garlic garment
gazebo gearbox geometry geranium geyser giant gingham giraffe glacier glaze gleam glider glimpse
goggles golden golf gondola gourd grammar grandpa graph gravity griddle grocery grotto guinea
guitar gumdrop gurgle gusto gymnast gyro habitat halibut hallway hammock hamster handbag
hardware harmony harp harvest hatchet hazelnut headband health heather hedgehog heirloom helium
helmet heritage heroic herring hexagon hickory highway hiking hilltop hippo hockey hoist holiday
homework hood horizon hornet hubcap huddle hungry hybrid hydrant hyphen iceberg icicle igloo
iguana imagine income index indigo indoor inhabit inkblot inkwell input inside invent iodine
island italic jackpot jaguar jamboree janitor jasmine javelin jeans jersey jetliner jigsaw
jogger joke jolly journal joyful joystick jubilee juicy jukebox jumbo junction juniper kangaroo
kayak kazoo kebab kelp ketchup kettle keyboard keyhole keystone kickoff kimono kindle kingdom
kiosk kitchen kiwi knapsack kneecap knuckle koala krypton lacrosse ladybug lagoon lamppost
landmark language laptop larkspur lattice laugh laundry laurel lavender leaflet leapfrog legend
lemonade lentil leopard letter liberty library light lilac lilypad limerick limpet lineage
linguist linoleum liquid lizard lobby lobster local logbook lollipop lozenge lucky luggage
lullaby lunchbox luxury lyric macaw machine mackerel magazine magenta magician magma magnet
mahogany mailbox mainland majesty mallard manager mantis manual marathon marigold marmoset marsh
marvel mascot matrix mattress maverick mechanic medicine medley meerkat meeting melody merchant
meridian mermaid message metaphor method midday midnight migrate milk millet minaret mineral
minister minnow minstrel miracle mirror mission mitten mixture mocha modern module molasses
molecule monarch monsoon monument moped mosaic mosquito moss motion motorist movie muffler
mulberry multiply museum mushroom muskrat muslin mustang myrtle mystery myth nachos napkin
narwhal nautical navigate nebula necktie nectar nephew nest network newborn nibble nitrogen
nomad noodle northern notch notebook nougat nugget nursery nutmeg nutrient nutshell nylon
oakwood oasis oatmeal oblong oboe obstacle ocean octagon octopus odometer odyssey office olive
opera opinion optic orbit orchard oregano organic origami ornament osprey ostrich outdoor outfit
outpost overture oxcart oxygen package padlock pagoda palisade palm palomino pamphlet pancake
panorama pantry papaya paper paprika papyrus parasol parmesan parsnip partner passport pasta
patrol pavilion peacock peanut pedestal pelican pendulum penguin pennant pentagon perfume
petunia pharmacy pheasant phoenix photo phrase physics pianist piccolo picnic pigment pigtail
pinball pinecone pinnacle pioneer pipeline pivot pixel pizza plaid plankton platinum playful
plug plumber plywood podium poet poignant pointer polaris polenta polka popcorn popular porridge
portrait postcard pottery prairie pretzel princess prize prodigy prologue proof pueblo puffin
pulley pumice pumpkin punch pupil puppet pyramid python quadrant quantum quartz queen question
quilt quince rabbit raccoon radar radiant ragtime rail rainbow raisin ravine react recipe
recycle reduce redwood reef referee regatta region reindeer remote replica report require
research restore rhythm ribcage rigatoni roadside roam rodeo romance rookie rosebud rotunda
rucksack rugby ruler runway safari safety saffron sage salmon sandwich sapphire sardine saturn
sauna sausage savanna scallop scarlet scenario scholar science scissors scrabble screen script
scroll seagull seaside seaweed serpent sesame shadow shampoo shelf shimmer shop shoulder shovel
shrimp shrub shuttle sibling sidecar sierra signal silent skirt skyline sleep slipper smooth
sneaker snooze snorkel snowman soccer society sofa software soprano soybean sparrow spatula
spinach spiral splash splendid split sponge spring spruce squirrel stadium staff stallion staple
sterling steward stingray stitch stocking stool sturdy stylus suburb sugar suitcase sunrise
sunset surface survive sushi swan symphony system tabloid tadpole tapestry tapioca target
tarragon tartan tavern teacup teapot teddy telegram temper tennis tentacle terrace textile
thermal thirsty thistle thrill throat thumb thunder tickle tiger timid tinfoil tissue toboggan
toddler together tomato tomorrow tongue toolbox topaz torrent tortoise totem toucan tractor
traffic tranquil trapeze travel treasure trellis triangle trio triple triumph trolley trombone
trophy trousers truffle trumpet trunk tuft tugboat tundra tunic tunnel turkey turmeric tuxedo
tweed twilight twirl ukulele umbrella uncle unicorn universe upstairs urchin utopia vacation
vacuum valve vanilla varnish vault vehicle velocity veranda village vinegar vinyl violin visible
vitamin volcano vowel voyage waffle waiter walnut waltz warbler wardrobe waterway wavy weasel
wedding weekend welcome whisker widget willow winner wisdom wombat world woven wreath wrinkle
year yield yoyo yucca yummy zebra zenith zeppelin zigzag zinc zither
""".split()  # noqa: SIM905 - a literal of so many words would be a page of quotes
)
